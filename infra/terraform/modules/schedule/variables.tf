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

variable "region" {
  description = "Region of everything that has one, as europe-west1."
  type        = string
  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]{1,2}$", var.region))
    error_message = "region is the name of one region, as europe-west1; not a zone and not a multi-region."
  }
}

variable "template" {
  description = "Name of the workflow template."
  type        = string
}

variable "scheduler" {
  description = "Address of the service account that starts it."
  type        = string
}

variable "runs" {
  description = "What to expose when: label to schedule (cron), product (a contract or a folder of them, gs://) and snapshot (main, another branch, a tag, or a time in UTC)."
  type = map(object({
    schedule = string
    product  = string
    snapshot = optional(string, "main")
  }))
  validation {
    condition     = alltrue([for label in keys(var.runs) : can(regex("^[a-z][a-z0-9-]{0,19}$", label))])
    error_message = "runs: labels have up to 20 lower-case letters, digits and hyphens, beginning with a letter."
  }
  validation {
    condition     = alltrue([for each in values(var.runs) : can(regex("^(\\S+\\s+){4}\\S+$", each.schedule))])
    error_message = "runs: schedule has the five fields of cron, as 15 * * * *."
  }
  validation {
    condition     = alltrue([for each in values(var.runs) : startswith(each.product, "gs://")])
    error_message = "runs: product is an address as gs://bucket/products."
  }
}

variable "profile" {
  description = "Which of conf/profiles."
  type        = string
  default     = "gcp"
  validation {
    condition     = can(regex("^[a-z0-9_-]+$", var.profile))
    error_message = "profile is the name of a file in conf/profiles, without .yaml."
  }
}

variable "time_zone" {
  description = "Time zone of the schedules."
  type        = string
  default     = "Etc/UTC"
}

variable "paused" {
  description = "Whether nothing is started for now."
  type        = bool
  default     = false
}
