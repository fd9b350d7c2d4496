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

variable "subnet" {
  description = "Subnet that the brokers are reached from, as projects/P/regions/R/subnetworks/S."
  type        = string
}

variable "runner" {
  description = "Address of the service account that sends the events."
  type        = string
}

variable "topics" {
  description = "Topics to make: name to partitions, retention_hours (0: for ever) and compacted (the last event of each key is kept)."
  type = map(object({
    partitions      = optional(number, 3)
    retention_hours = optional(number, 168)
    compacted       = optional(bool, false)
  }))
  default = {}
  validation {
    condition     = alltrue([for name in keys(var.topics) : can(regex("^[a-zA-Z0-9._-]{1,249}$", name))])
    error_message = "topics: names have letters, digits, . _ and -, up to 249."
  }
  validation {
    condition     = alltrue([for topic in values(var.topics) : topic.partitions >= 1 && topic.retention_hours >= 0])
    error_message = "topics: partitions is 1 or more, retention_hours 0 or more."
  }
}

variable "consumers" {
  description = "Service accounts that read topics: label to address and topics."
  type = map(object({
    account = string
    topics  = set(string)
  }))
  default = {}
  validation {
    condition     = alltrue(flatten([for consumer in values(var.consumers) : [for topic in consumer.topics : contains(keys(var.topics), topic)]]))
    error_message = "consumers: read topics of `topics` only."
  }
}

variable "vcpus" {
  description = "vCPUs of all brokers together."
  type        = number
  default     = 3
  validation {
    condition     = var.vcpus >= 3 && floor(var.vcpus) == var.vcpus
    error_message = "vcpus is a whole number, 3 or more."
  }
}

variable "memory_gib" {
  description = "Memory of all brokers together."
  type        = number
  default     = 12
  validation {
    condition     = var.memory_gib >= var.vcpus && var.memory_gib <= 8 * var.vcpus
    error_message = "memory_gib is 1 to 8 for each vCPU."
  }
}
