variable "project_number" {
  description = "Number of the project: Google's service agents are named by it."
  type        = string
  validation {
    condition     = can(regex("^[0-9]{6,20}$", var.project_number))
    error_message = "project_number is the number of the project, not its id."
  }
}

variable "kms_key" {
  description = "Key of Cloud KMS, as projects/P/locations/REGION/keyRings/R/cryptoKeys/K."
  type        = string
  validation {
    condition     = can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key))
    error_message = "kms_key is projects/P/locations/REGION/keyRings/R/cryptoKeys/K."
  }
}

variable "services" {
  description = "Services that encrypt with the key."
  type        = set(string)
  default     = ["bigquery", "compute", "dataproc", "secretmanager", "storage"]
  validation {
    condition     = length(setsubtract(var.services, ["bigquery", "compute", "dataproc", "managedkafka", "pubsub", "run", "secretmanager", "sql", "storage"])) == 0
    error_message = "services: of bigquery, compute, dataproc, managedkafka, pubsub, run, secretmanager, sql, storage."
  }
}
