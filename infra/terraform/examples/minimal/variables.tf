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

variable "labels" {
  description = "Labels of everything that takes labels."
  type        = map(string)
  default     = {}
  validation {
    condition = length(var.labels) <= 64 && alltrue([
      for key, value in var.labels :
      can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value))
    ])
    error_message = "labels: at most 64; keys and values of lower-case letters, digits, _ and -, up to 63 characters, keys beginning with a letter."
  }
}
