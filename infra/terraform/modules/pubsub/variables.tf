variable "project" {
  description = "Id of the project that everything is made in."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project is a project id: 6 to 30 lower-case letters, digits and hyphens, beginning with a letter."
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

variable "kms_key" {
  description = "Key of Cloud KMS for data at rest (module encryption lets the services use it); null: Google's own keys."
  type        = string
  default     = null
  validation {
    condition = var.kms_key == null ? true : (
      can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key)) &&
      try(split("/", var.kms_key)[3], "") == var.region
    )
    error_message = "kms_key is projects/P/locations/REGION/keyRings/R/cryptoKeys/K, in the same region as what it encrypts."
  }
}

variable "runner" {
  description = "Member that sends the events, as serviceAccount:..."
  type        = string
}

variable "topics" {
  description = "Topics to make: name to retention_hours."
  type        = map(object({ retention_hours = optional(number, 168) }))
  validation {
    condition     = alltrue([for name in keys(var.topics) : can(regex("^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$", name)) && !startswith(name, "goog")])
    error_message = "topics: names have 3 to 255 letters, digits and ._~+%-, begin with a letter, and not with goog."
  }
  validation {
    # The API takes 10 minutes to 31 days.
    condition     = alltrue([for topic in values(var.topics) : topic.retention_hours >= 1 && topic.retention_hours <= 744])
    error_message = "topics: retention_hours is 1 to 744."
  }
}

variable "subscriptions" {
  description = "Subscriptions to make: name to topic and member that reads."
  type        = map(object({ topic = string, member = string }))
  default     = {}
  validation {
    condition     = alltrue([for each in values(var.subscriptions) : contains(keys(var.topics), each.topic) && !can(regex("^all", each.member))])
    error_message = "subscriptions: of topics of `topics`, and never for allUsers or allAuthenticatedUsers."
  }
}
