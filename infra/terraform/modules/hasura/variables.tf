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
  description = "Image of Hasura v2, a long-term support line, pinned by digest; a mirror's address may stand before it."
  type        = string
  default     = "hasura/graphql-engine:v2.50.3@sha256:521ace33b50ce9e65e7dc28e2c3311ae75ab8889c514510c647d486243ee0168"
  validation {
    # v3 has no metadata API that tables could be tracked by; of v2, 2.45 and 2.50 are supported.
    condition     = can(regex("(^|/)hasura/graphql-engine:v2\\.(45|50)\\.[0-9]+[a-z.-]*@sha256:[0-9a-f]{64}$", var.image))
    error_message = "image is [MIRROR/]hasura/graphql-engine:v2.50.N@sha256:DIGEST (or v2.45.N)."
  }
}

variable "account" {
  description = "Address of the service account that Hasura runs as."
  type        = string
}

variable "secrets" {
  description = "Ids in Secret Manager of admin_secret, database_url, jwt_secret and bigquery_key; each needs a value before Hasura can start."
  type = object({
    admin_secret = string
    database_url = string
    jwt_secret   = string
    bigquery_key = string
  })
}

variable "network" {
  description = "Network in which Cloud SQL has its private address."
  type        = string
}

variable "subnet" {
  description = "Subnet by which Hasura reaches it."
  type        = string
}

variable "consumer_ingress" {
  description = "From where applications reach GraphQL: internal, load-balancer (and internal), all. The metadata API is always internal."
  type        = string
  default     = "internal"
  validation {
    condition     = contains(["internal", "load-balancer", "all"], var.consumer_ingress)
    error_message = "consumer_ingress is internal, load-balancer or all."
  }
}

variable "invokers" {
  description = "Who may call GraphQL at all, by Google's identity, before Hasura looks at the token: label to member; empty: Hasura alone decides."
  type        = map(string)
  default     = {}
  validation {
    condition     = alltrue([for member in values(var.invokers) : !can(regex("^all", member))])
    error_message = "invokers: never allUsers or allAuthenticatedUsers."
  }
}

variable "max_instances" {
  description = "Most instances that serve GraphQL."
  type        = number
  default     = 4
  validation {
    condition     = var.max_instances >= 1 && floor(var.max_instances) == var.max_instances
    error_message = "max_instances is a whole number, 1 or more."
  }
}

variable "database_tier" {
  description = "Machine of the PostgreSQL that keeps Hasura's metadata."
  type        = string
  default     = "db-g1-small"
}

variable "highly_available" {
  description = "Whether the PostgreSQL has a second machine in another zone."
  type        = bool
  default     = false
}

variable "deletion_protection" {
  description = "Whether `terraform destroy` leaves the services and the PostgreSQL alone."
  type        = bool
  default     = true
}
