variable "project" {
  description = "Id of the project that everything is made in."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project is a project id: 6 to 30 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "name" {
  description = "Prefix of every name, so that several environments fit in one project."
  type        = string
  default     = "polyexpose"
  validation {
    # Ids of service accounts end at 30 characters; the longest ending here is -hasura-reader.
    condition     = can(regex("^[a-z][a-z0-9-]{1,14}[a-z0-9]$", var.name))
    error_message = "name has 3 to 16 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "roles" {
  description = "Which service accounts to make: runner, scheduler, hasura (runs the service), hasura-reader (reads BigQuery for it)."
  type        = set(string)
  default     = ["runner", "scheduler"]
  validation {
    condition     = contains(var.roles, "runner") && length(setsubtract(var.roles, ["runner", "scheduler", "hasura", "hasura-reader"])) == 0
    error_message = "roles: runner, which is always needed, and of scheduler, hasura, hasura-reader."
  }
}

variable "analysts" {
  description = "Google group that reads the Iceberg tables (port sql); null: nobody."
  type        = string
  default     = null
  validation {
    condition     = var.analysts == null ? true : can(regex("^[^@:]+@[^@:]+$", var.analysts))
    error_message = "analysts is the address of a group, without group: before it."
  }
}
