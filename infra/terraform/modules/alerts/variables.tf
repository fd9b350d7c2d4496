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

variable "emails" {
  description = "Who is told: label to address."
  type        = map(string)
  validation {
    condition     = length(var.emails) > 0 && alltrue([for email in values(var.emails) : can(regex("^[^@\\s]+@[^@\\s]+$", email))])
    error_message = "emails: at least one address; an alert that nobody gets is none."
  }
}

variable "lag_minutes" {
  description = "Minutes that a port may be behind its table."
  type        = number
  default     = 120
  validation {
    condition     = var.lag_minutes >= 1
    error_message = "lag_minutes is 1 or more."
  }
}

variable "silence_hours" {
  description = "Hours without any exposure that ended well (published or unchanged) before somebody is told."
  type        = number
  default     = 6
  validation {
    # Cloud Monitoring notices an absence of up to 23.5 hours.
    condition     = var.silence_hours >= 1 && var.silence_hours <= 23
    error_message = "silence_hours is 1 to 23."
  }
}

variable "runs_on" {
  description = "Where runs go: cluster (jobs, workflow templates) or serverless (batches)."
  type        = string
  default     = "cluster"
  validation {
    condition     = contains(["cluster", "serverless"], var.runs_on)
    error_message = "runs_on is cluster or serverless."
  }
}
