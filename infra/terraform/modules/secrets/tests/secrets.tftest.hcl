mock_provider "google" {
  source = "../../mocks"
}

variables {
  project = "acme-data-prod"
  region  = "europe-west1"
  readers = {
    hasura-admin-secret = {
      runner = "serviceAccount:runner@acme-data-prod.iam.gserviceaccount.com"
      hasura = "serviceAccount:hasura@acme-data-prod.iam.gserviceaccount.com"
    }
    hasura-bigquery-key = { hasura = "serviceAccount:hasura@acme-data-prod.iam.gserviceaccount.com" }
  }
}

run "each_secret_has_its_own_readers" {
  assert {
    condition = toset([
      for grant in google_secret_manager_secret_iam_member.reader : "${grant.secret_id} ${split("@", grant.member)[0]}"
      ]) == toset([
      "polyexpose-hasura-admin-secret serviceAccount:runner",
      "polyexpose-hasura-admin-secret serviceAccount:hasura",
      "polyexpose-hasura-bigquery-key serviceAccount:hasura",
    ])
    error_message = "a secret is read by others than those named for it"
  }
  assert {
    condition     = alltrue([for grant in google_secret_manager_secret_iam_member.reader : grant.role == "roles/secretmanager.secretAccessor"])
    error_message = "a reader may do more than read"
  }
  assert {
    condition     = output.references["hasura-admin-secret"] == "sm://acme-data-prod/polyexpose-hasura-admin-secret"
    error_message = "polyexpose cannot resolve the reference"
  }
}

run "secrets_stay_in_the_region" {
  assert {
    condition     = alltrue([for secret in google_secret_manager_secret.this : one(one(one(secret.replication).user_managed).replicas).location == "europe-west1"])
    error_message = "a secret is replicated elsewhere"
  }
}

run "everybody_is_refused" {
  command = plan
  variables {
    readers = { hasura-admin-secret = { world = "allAuthenticatedUsers" } }
  }
  expect_failures = [var.readers]
}
