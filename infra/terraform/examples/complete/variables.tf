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

variable "analysts" {
  description = "Google group that reads the Iceberg tables (port sql); null: nobody."
  type        = string
  default     = null
}

variable "scientists" {
  description = "Google group that reads the CSV files and the documents of events; null: nobody."
  type        = string
  default     = null
}

variable "developers" {
  description = "Google group that reads the views in BigQuery; null: nobody. GraphQL is for whoever has a token that Hasura takes."
  type        = string
  default     = null
}

variable "dataset" {
  description = "BigQuery dataset that consumers see."
  type        = string
  default     = "products"
}

variable "sink" {
  description = "Where events go: kafka, pubsub, or pubsublite, which ends on 2027-01-31."
  type        = string
  default     = "kafka"
  validation {
    condition     = contains(["kafka", "pubsub", "pubsublite"], var.sink)
    error_message = "sink is kafka, pubsub or pubsublite."
  }
}

variable "topics" {
  description = "Topics of events."
  type        = set(string)
  default     = []
}

variable "consumers" {
  description = "Service accounts that read events: label to address and topic."
  type        = map(object({ account = string, topic = string }))
  default     = {}
}

variable "runs" {
  description = "What to expose when: label to schedule (cron), product and, where it is not main, snapshot."
  type        = map(object({ schedule = string, product = string, snapshot = optional(string, "main") }))
  default     = {}
}

variable "image" {
  description = "Line of the cluster image: 2.3 or 3.0."
  type        = string
  default     = "2.3"
}

variable "emails" {
  description = "Who is told of failures: label to address."
  type        = map(string)
}

variable "project_number" {
  description = "Number of the project; needed with kms_key only."
  type        = string
  default     = null
}

variable "deletion_protection" {
  description = "Whether `terraform destroy` leaves Hasura and its PostgreSQL alone."
  type        = bool
  default     = true
}

variable "delete_contents" {
  description = "Whether `terraform destroy` deletes buckets and datasets with what is in them."
  type        = bool
  default     = false
}
