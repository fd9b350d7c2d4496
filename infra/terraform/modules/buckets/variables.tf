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
  description = "Member that runs polyexpose, as serviceAccount:..."
  type        = string
}

variable "csv_readers" {
  description = "Who reads the CSV files and the documents of events: label to member, as {scientists = \"group:scientists@example.com\"}."
  type        = map(string)
  default     = {}
  validation {
    condition     = alltrue([for member in values(var.csv_readers) : !can(regex("^all", member)) && can(regex("^[A-Za-z]+:", member))])
    error_message = "csv_readers: members with their kind before a colon (group:, user:, serviceAccount:); never allUsers or allAuthenticatedUsers."
  }
}

variable "analysts" {
  description = "Google group that reads the files of the Iceberg tables (port sql); null: nobody."
  type        = string
  default     = null
}

variable "noncurrent_days" {
  description = "Days that an object stays after it was replaced or deleted, in the versioned buckets."
  type        = number
  default     = 30
  validation {
    condition     = var.noncurrent_days >= 1 && floor(var.noncurrent_days) == var.noncurrent_days
    error_message = "noncurrent_days is a whole number, 1 or more."
  }
}

variable "staging_days" {
  description = "Days that a file on its way, and the output of a job, stays."
  type        = number
  default     = 14
  validation {
    condition     = var.staging_days >= 2 && floor(var.staging_days) == var.staging_days
    error_message = "staging_days is a whole number, 2 or more: a run that is repeated finds its files of the day before."
  }
}

variable "force_destroy" {
  description = "Whether `terraform destroy` deletes buckets with what is in them."
  type        = bool
  default     = false
}
