# All four ports, a schedule and alerts.

provider "google" {
  project = var.project
  region  = var.region
}

locals {
  # The key, once the services may use it.
  kms_key = one(module.encryption[*].kms_key)
  secrets = {
    admin_secret = "hasura-admin-secret"
    database_url = "hasura-database-url"
    jwt_secret   = "hasura-jwt-secret"
    bigquery_key = "hasura-bigquery-key"
  }
  events = merge(concat(
    [{ documents = "gs://${module.buckets.names["exchange"]}/events" }],
    module.kafka[*].events, module.pubsub[*].events, [module.pubsublite.events]
  )...)
  # After conf/profiles/gcp.yaml, which has what is the same in every environment.
  environment = yamlencode({
    catalog = module.lakehouse.catalog
    state   = { location = "gs://${module.buckets.names["state"]}/polyexpose" }
    ports = {
      csv = { root = "gs://${module.buckets.names["exchange"]}/csv" }
      gql = merge(module.bigquery.gql, {
        staging = "gs://${module.buckets.names["staging"]}/gql"
        hasura = {
          endpoint     = module.hasura.endpoint
          admin_secret = module.secrets.references[local.secrets.admin_secret]
        }
      })
      events = local.events
    }
  })
}

module "encryption" {
  count          = var.kms_key == null ? 0 : 1
  source         = "../../modules/encryption"
  project_number = var.project_number
  kms_key        = var.kms_key
  services = concat(
    ["bigquery", "compute", "dataproc", "run", "secretmanager", "sql", "storage"],
    var.sink == "kafka" ? ["managedkafka"] : [], var.sink == "pubsub" ? ["pubsub"] : []
  )
}

module "network" {
  source  = "../../modules/network"
  project = var.project
  name    = var.name
  region  = var.region
}

module "accounts" {
  source   = "../../modules/accounts"
  project  = var.project
  name     = var.name
  roles    = ["runner", "scheduler", "hasura", "hasura-reader"]
  analysts = var.analysts
}

module "buckets" {
  source        = "../../modules/buckets"
  project       = var.project
  name          = var.name
  region        = var.region
  labels        = var.labels
  kms_key       = local.kms_key
  runner        = module.accounts.members["runner"]
  analysts      = var.analysts
  csv_readers   = var.scientists == null ? {} : { scientists = "group:${var.scientists}" }
  force_destroy = var.delete_contents
}

module "lakehouse" {
  source  = "../../modules/lakehouse"
  project = var.project
  bucket  = module.buckets.names["warehouse"]
}

module "bigquery" {
  source          = "../../modules/bigquery"
  project         = var.project
  region          = var.region
  labels          = var.labels
  kms_key         = local.kms_key
  dataset         = var.dataset
  runner          = module.accounts.emails["runner"]
  reader_accounts = { hasura = module.accounts.emails["hasura-reader"] }
  reader_groups   = var.developers == null ? [] : [var.developers]
  delete_contents = var.delete_contents
}

module "secrets" {
  source  = "../../modules/secrets"
  project = var.project
  name    = var.name
  region  = var.region
  labels  = var.labels
  kms_key = local.kms_key
  readers = {
    (local.secrets.admin_secret) = { hasura = module.accounts.members["hasura"], runner = module.accounts.members["runner"] }
    (local.secrets.database_url) = { hasura = module.accounts.members["hasura"] }
    (local.secrets.jwt_secret)   = { hasura = module.accounts.members["hasura"] }
    (local.secrets.bigquery_key) = { hasura = module.accounts.members["hasura"] }
  }
}

module "hasura" {
  source              = "../../modules/hasura"
  project             = var.project
  name                = var.name
  region              = var.region
  labels              = var.labels
  kms_key             = local.kms_key
  account             = module.accounts.emails["hasura"]
  secrets             = { for use, secret in local.secrets : use => module.secrets.ids[secret] }
  network             = module.network.network
  subnet              = module.network.subnet
  deletion_protection = var.deletion_protection
}

module "kafka" {
  count   = var.sink == "kafka" ? 1 : 0
  source  = "../../modules/kafka"
  project = var.project
  name    = var.name
  region  = var.region
  labels  = var.labels
  kms_key = local.kms_key
  subnet  = module.network.subnet
  runner  = module.accounts.emails["runner"]
  topics  = { for topic in var.topics : topic => {} }
  consumers = {
    for label, consumer in var.consumers : label => { account = consumer.account, topics = [consumer.topic] }
  }
}

module "pubsub" {
  count   = var.sink == "pubsub" ? 1 : 0
  source  = "../../modules/pubsub"
  project = var.project
  region  = var.region
  labels  = var.labels
  kms_key = local.kms_key
  runner  = module.accounts.members["runner"]
  topics  = { for topic in var.topics : topic => {} }
  subscriptions = {
    for label, consumer in var.consumers : label => { topic = consumer.topic, member = "serviceAccount:${consumer.account}" }
  }
}

module "pubsublite" {
  source  = "../../modules/pubsublite"
  enabled = var.sink == "pubsublite"
  project = var.project
  region  = var.region
  runner  = module.accounts.members["runner"]
  topics  = { for topic in var.topics : topic => {} }
}

module "dataproc" {
  source         = "../../modules/dataproc"
  project        = var.project
  name           = var.name
  region         = var.region
  labels         = var.labels
  kms_key        = local.kms_key
  image          = var.image
  runner         = module.accounts.emails["runner"]
  code_bucket    = module.buckets.names["code"]
  staging_bucket = module.buckets.names["staging"]
  environment    = local.environment
  subnet         = module.network.subnet
  tags           = [module.network.cluster_tag]
}

module "schedule" {
  source    = "../../modules/schedule"
  project   = var.project
  name      = var.name
  region    = var.region
  template  = module.dataproc.template
  scheduler = module.accounts.emails["scheduler"]
  runs      = var.runs
}

module "alerts" {
  source  = "../../modules/alerts"
  project = var.project
  name    = var.name
  labels  = var.labels
  emails  = var.emails
}
