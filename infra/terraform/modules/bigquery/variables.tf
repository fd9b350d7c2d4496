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

variable "dataset" {
  description = "Dataset that consumers see; <dataset>__versions is made beside it, for the copies."
  type        = string
  default     = "products"
  validation {
    # GraphQL keeps __ for itself, and Hasura puts the dataset before every name.
    condition     = can(regex("^[A-Za-z][A-Za-z0-9_]{0,200}$", var.dataset)) && !strcontains(var.dataset, "__")
    error_message = "dataset: letters, digits and _, beginning with a letter, no __: it is part of every GraphQL name."
  }
}

variable "runner" {
  description = "Address of the service account that runs polyexpose."
  type        = string
}

variable "reader_accounts" {
  description = "Service accounts that read the views: label to address, as {hasura = \"...@...\"}."
  type        = map(string)
  default     = {}
}

variable "reader_groups" {
  description = "Google groups that read the views."
  type        = set(string)
  default     = []
  validation {
    condition     = alltrue([for group in var.reader_groups : can(regex("^[^@:]+@[^@:]+$", group))])
    error_message = "reader_groups are addresses of groups, without group: before them."
  }
}

variable "delete_contents" {
  description = "Whether `terraform destroy` deletes datasets with the tables in them."
  type        = bool
  default     = false
}
