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

variable "enabled" {
  description = "Whether to make anything. Pub/Sub Lite ends on 2027-01-31, and takes no new customers: use module kafka."
  type        = bool
  default     = false
}

variable "zone" {
  description = "Letter of the zone of the topics; null: regional topics."
  type        = string
  default     = null
  validation {
    condition     = var.zone == null ? true : can(regex("^[a-f]$", var.zone))
    error_message = "zone is one letter, a to f."
  }
}

variable "runner" {
  description = "Member that sends the events, as serviceAccount:..."
  type        = string
}

variable "topics" {
  description = "Topics to make: name to partitions and gib_per_partition."
  type = map(object({
    partitions        = optional(number, 1)
    gib_per_partition = optional(number, 30)
  }))
  default = {}
  validation {
    condition     = alltrue([for topic in values(var.topics) : topic.partitions >= 1 && topic.gib_per_partition >= 30])
    error_message = "topics: partitions is 1 or more, gib_per_partition 30 or more."
  }
}
