# Hasura v2 as two services over one PostgreSQL: what applications call knows GraphQL only; what can change metadata is
# never reachable from outside the network. No console, no development mode, no role for those who show no token.

locals {
  services = {
    graphql = {
      apis    = "graphql"
      ingress = local.ingress[var.consumer_ingress]
      minimum = 1
      maximum = var.max_instances
      # Google asks for an identity where some are named.
      open = length(var.invokers) == 0
    }
    metadata = {
      apis    = "graphql,metadata"
      ingress = local.ingress["internal"]
      minimum = 0
      maximum = 1
      # polyexpose sends the admin secret, and no identity token.
      open = true
    }
  }
  ingress = {
    internal      = "INGRESS_TRAFFIC_INTERNAL_ONLY"
    load-balancer = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
    all           = "INGRESS_TRAFFIC_ALL"
  }
  settings = {
    HASURA_GRAPHQL_ENABLE_CONSOLE        = "false"
    HASURA_GRAPHQL_DEV_MODE              = "false"
    HASURA_GRAPHQL_ADMIN_INTERNAL_ERRORS = "false"
    HASURA_GRAPHQL_ENABLE_TELEMETRY      = "false"
    # Integers of a query beyond 32 bits, as text.
    HASURA_GRAPHQL_EXPERIMENTAL_FEATURES = "bigquery_string_numeric_input"
  }
  secrets = {
    HASURA_GRAPHQL_ADMIN_SECRET          = var.secrets.admin_secret
    HASURA_GRAPHQL_METADATA_DATABASE_URL = var.secrets.database_url
    HASURA_GRAPHQL_JWT_SECRET            = var.secrets.jwt_secret
    # polyexpose's ports.gql.hasura.service_account_env names it.
    BIGQUERY_SERVICE_ACCOUNT = var.secrets.bigquery_key
  }
}

resource "google_sql_database_instance" "metadata" {
  project             = var.project
  name                = "${var.name}-hasura"
  region              = var.region
  database_version    = "POSTGRES_16"
  encryption_key_name = var.kms_key
  deletion_protection = var.deletion_protection

  settings {
    # Shared-core machines exist in this edition only, and it is not the default from PostgreSQL 16 on.
    edition                     = "ENTERPRISE"
    tier                        = var.database_tier
    availability_type           = var.highly_available ? "REGIONAL" : "ZONAL"
    disk_size                   = 10
    disk_autoresize             = true
    user_labels                 = var.labels
    deletion_protection_enabled = var.deletion_protection

    ip_configuration {
      ipv4_enabled    = false
      private_network = var.network
      ssl_mode        = "ENCRYPTED_ONLY"
    }

    backup_configuration {
      enabled                        = true
      point_in_time_recovery_enabled = true
      location                       = var.region
    }
  }
}

resource "google_sql_database" "metadata" {
  project  = var.project
  instance = google_sql_database_instance.metadata.name
  name     = "hasura"
}

resource "google_cloud_run_v2_service" "hasura" {
  for_each             = local.services
  project              = var.project
  name                 = "${var.name}-hasura-${each.key}"
  location             = var.region
  labels               = var.labels
  ingress              = each.value.ingress
  invoker_iam_disabled = each.value.open
  deletion_protection  = var.deletion_protection

  template {
    service_account = var.account
    encryption_key  = var.kms_key
    labels          = var.labels
    timeout         = "60s"

    scaling {
      min_instance_count = each.value.minimum
      max_instance_count = each.value.maximum
    }

    vpc_access {
      egress = "PRIVATE_RANGES_ONLY"
      network_interfaces {
        network    = var.network
        subnetwork = var.subnet
      }
    }

    containers {
      image = var.image

      ports {
        container_port = 8080
      }

      resources {
        limits = { cpu = "1", memory = "2Gi" }
        # Hasura looks for changed metadata in the background, about once a second.
        cpu_idle          = false
        startup_cpu_boost = true
      }

      dynamic "env" {
        for_each = merge(local.settings, { HASURA_GRAPHQL_ENABLED_APIS = each.value.apis })
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = local.secrets
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = env.value
              version = "latest"
            }
          }
        }
      }

      startup_probe {
        period_seconds    = 5
        failure_threshold = 24
        http_get {
          path = "/healthz"
          port = 8080
        }
      }

      liveness_probe {
        period_seconds    = 30
        failure_threshold = 3
        http_get {
          path = "/healthz"
          port = 8080
        }
      }
    }
  }

  depends_on = [google_sql_database.metadata]
}

resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = var.invokers
  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_service.hasura["graphql"].name
  role     = "roles/run.invoker"
  member   = each.value
}
