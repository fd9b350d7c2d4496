mock_provider "google" {
  source = "../../mocks"
}

variables {
  project = "acme-data-prod"
  region  = "europe-west1"
  account = "hasura@acme-data-prod.iam.gserviceaccount.com"
  network = "projects/acme-data-prod/global/networks/polyexpose"
  subnet  = "projects/acme-data-prod/regions/europe-west1/subnetworks/polyexpose"
  secrets = {
    admin_secret = "polyexpose-hasura-admin-secret"
    database_url = "polyexpose-hasura-database-url"
    jwt_secret   = "polyexpose-hasura-jwt-secret"
    bigquery_key = "polyexpose-hasura-bigquery-key"
  }
}

run "metadata_is_never_reachable_from_outside" {
  variables {
    consumer_ingress = "all"
  }
  assert {
    condition     = google_cloud_run_v2_service.hasura["metadata"].ingress == "INGRESS_TRAFFIC_INTERNAL_ONLY"
    error_message = "the metadata API is reachable from the internet"
  }
  assert {
    condition = alltrue([
      for name, service in google_cloud_run_v2_service.hasura :
      service.ingress == "INGRESS_TRAFFIC_INTERNAL_ONLY" ||
      one([for each in service.template[0].containers[0].env : each.value if each.name == "HASURA_GRAPHQL_ENABLED_APIS"]) == "graphql"
    ])
    error_message = "a service that is reachable from outside knows more than GraphQL"
  }
}

run "nothing_is_public_by_default" {
  assert {
    condition     = alltrue([for service in google_cloud_run_v2_service.hasura : service.ingress == "INGRESS_TRAFFIC_INTERNAL_ONLY"])
    error_message = "a service is reachable from the internet"
  }
  assert {
    condition = alltrue(flatten([
      for service in google_cloud_run_v2_service.hasura : [
        for setting in ["HASURA_GRAPHQL_ENABLE_CONSOLE", "HASURA_GRAPHQL_DEV_MODE", "HASURA_GRAPHQL_ADMIN_INTERNAL_ERRORS", "HASURA_GRAPHQL_ENABLE_TELEMETRY"] :
        one([for each in service.template[0].containers[0].env : each.value if each.name == setting]) == "false"
      ]
    ]))
    error_message = "console, development mode, internal errors or telemetry are on"
  }
  assert {
    condition = alltrue([
      for service in google_cloud_run_v2_service.hasura :
      !contains([for each in service.template[0].containers[0].env : each.name], "HASURA_GRAPHQL_UNAUTHORIZED_ROLE")
    ])
    error_message = "who shows no token has a role"
  }
}

run "secrets_come_from_secret_manager" {
  assert {
    condition = alltrue(flatten([
      for service in google_cloud_run_v2_service.hasura : [
        for variable, secret in {
          HASURA_GRAPHQL_ADMIN_SECRET          = "polyexpose-hasura-admin-secret"
          HASURA_GRAPHQL_METADATA_DATABASE_URL = "polyexpose-hasura-database-url"
          HASURA_GRAPHQL_JWT_SECRET            = "polyexpose-hasura-jwt-secret"
          BIGQUERY_SERVICE_ACCOUNT             = "polyexpose-hasura-bigquery-key"
        } :
        one([for each in service.template[0].containers[0].env : each.value_source[0].secret_key_ref[0].secret if each.name == variable]) == secret
      ]
    ]))
    error_message = "a secret is not read from Secret Manager"
  }
}

run "the_database_has_no_public_address" {
  assert {
    condition = alltrue([
      for each in google_sql_database_instance.metadata.settings[0].ip_configuration :
      !each.ipv4_enabled && each.private_network == var.network && each.ssl_mode == "ENCRYPTED_ONLY"
    ])
    error_message = "the database is reachable from outside, or without TLS"
  }
  assert {
    condition     = google_sql_database_instance.metadata.deletion_protection && google_sql_database_instance.metadata.settings[0].backup_configuration[0].enabled
    error_message = "the metadata can be lost"
  }
}

run "with_invokers_google_asks_for_an_identity" {
  variables {
    invokers = { shop = "serviceAccount:shop@acme-apps.iam.gserviceaccount.com" }
  }
  assert {
    condition     = !google_cloud_run_v2_service.hasura["graphql"].invoker_iam_disabled && google_cloud_run_v2_service_iam_member.invoker["shop"].role == "roles/run.invoker"
    error_message = "the invokers make no difference"
  }
}

run "everybody_is_no_invoker" {
  command = plan
  variables {
    invokers = { world = "allUsers" }
  }
  expect_failures = [var.invokers]
}

run "an_image_without_a_digest_is_refused" {
  command = plan
  variables {
    image = "hasura/graphql-engine:v2.50.3"
  }
  expect_failures = [var.image]
}

run "version_3_is_refused" {
  command = plan
  variables {
    image = "hasura/graphql-engine:v3.0.0@sha256:521ace33b50ce9e65e7dc28e2c3311ae75ab8889c514510c647d486243ee0168"
  }
  expect_failures = [var.image]
}

run "a_mirror_is_taken" {
  command = plan
  variables {
    image = "europe-west1-docker.pkg.dev/acme-data-prod/mirror/hasura/graphql-engine:v2.50.3-ce@sha256:521ace33b50ce9e65e7dc28e2c3311ae75ab8889c514510c647d486243ee0168"
  }
  assert {
    condition     = google_cloud_run_v2_service.hasura["graphql"].template[0].containers[0].image == var.image
    error_message = "another image runs"
  }
}
