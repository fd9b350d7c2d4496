# Ports sql and csv: an Iceberg catalog, a place for CSV files, and a workflow template that exposes both.

provider "google" {
  project = var.project
  region  = var.region
}

module "network" {
  source  = "../../modules/network"
  project = var.project
  name    = var.name
  region  = var.region
}

module "accounts" {
  source  = "../../modules/accounts"
  project = var.project
  name    = var.name
  roles   = ["runner"]
}

module "buckets" {
  source  = "../../modules/buckets"
  project = var.project
  name    = var.name
  region  = var.region
  labels  = var.labels
  runner  = module.accounts.members["runner"]
}

module "lakehouse" {
  source  = "../../modules/lakehouse"
  project = var.project
  bucket  = module.buckets.names["warehouse"]
}

module "dataproc" {
  source         = "../../modules/dataproc"
  project        = var.project
  name           = var.name
  region         = var.region
  labels         = var.labels
  runner         = module.accounts.emails["runner"]
  code_bucket    = module.buckets.names["code"]
  staging_bucket = module.buckets.names["staging"]
  environment    = local.environment
  subnet         = module.network.subnet
  tags           = [module.network.cluster_tag]
}

locals {
  # After conf/profiles/gcp.yaml, which has what is the same in every environment.
  environment = yamlencode({
    catalog = module.lakehouse.catalog
    state   = { location = "gs://${module.buckets.names["state"]}/polyexpose" }
    ports = {
      csv = { root = "gs://${module.buckets.names["exchange"]}/csv" }
    }
  })
}
