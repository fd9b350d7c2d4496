variable "project" {
  description = "Id of the project that everything is made in."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project is a project id: 6 to 30 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "bucket" {
  description = "Bucket of the warehouse; the catalog has its name."
  type        = string
}

variable "vended_credentials" {
  description = "Whether the catalog hands out credentials for the files, so that engines need no access to the bucket."
  type        = bool
  default     = false
}
