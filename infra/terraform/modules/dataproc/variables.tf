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

variable "image" {
  description = "Line of the cluster image: 2.3 (Spark 3.5, Java 11) or 3.0 (Spark 4.1, Java 21)."
  type        = string
  default     = "2.3"
  validation {
    condition     = contains(["2.3", "3.0"], var.image)
    error_message = "image is 2.3 or 3.0: 2.2 is out of support since 2026-09-30."
  }
}

variable "runner" {
  description = "Address of the service account that the machines run as."
  type        = string
}

variable "code_bucket" {
  description = "Bucket with polyexpose/main.py and polyexpose/polyexpose_spark.zip (make wheel), and with the contracts."
  type        = string
}

variable "staging_bucket" {
  description = "Bucket for what a cluster keeps: job output, temporary files."
  type        = string
}

variable "environment" {
  description = "Addresses of this environment, as YAML: it comes after conf/profiles/gcp.yaml and wins."
  type        = string
  validation {
    condition     = can(keys(yamldecode(var.environment)))
    error_message = "environment is a YAML document with keys, as of yamlencode()."
  }
}

variable "subnet" {
  description = "Subnet of the machines, with Private Google Access; they have no public addresses."
  type        = string
}

variable "tags" {
  description = "Network tags of the machines: what lets them talk to each other."
  type        = list(string)
}

variable "machine_type" {
  description = "Machine type of the master and of the workers."
  type        = string
  default     = "n2-standard-4"
  validation {
    condition     = can(regex("^[a-z][a-z0-9]*-[a-z0-9-]+$", var.machine_type))
    error_message = "machine_type is as n2-standard-4."
  }
}

variable "max_workers" {
  description = "Most workers; 2 are there from the start."
  type        = number
  default     = 8
  validation {
    condition     = var.max_workers >= 2 && floor(var.max_workers) == var.max_workers
    error_message = "max_workers is a whole number, 2 or more."
  }
}

variable "timeout_hours" {
  description = "Hours after which a run is cancelled, and its cluster deleted."
  type        = number
  default     = 6
  validation {
    # The API takes 10 minutes to 24 hours.
    condition     = var.timeout_hours >= 1 && var.timeout_hours <= 24
    error_message = "timeout_hours is 1 to 24."
  }
}
