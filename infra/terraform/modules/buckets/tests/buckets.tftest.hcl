mock_provider "google" {
  source = "../../mocks"
}

variables {
  project = "acme-data-prod"
  region  = "europe-west1"
  labels  = { team = "data" }
  runner  = "serviceAccount:runner@acme-data-prod.iam.gserviceaccount.com"
}

run "no_bucket_can_become_public" {
  assert {
    condition = alltrue([
      for bucket in google_storage_bucket.this : bucket.uniform_bucket_level_access && bucket.public_access_prevention == "enforced"
    ])
    error_message = "a bucket without uniform access, or that may be made public"
  }
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.this : !bucket.force_destroy && bucket.labels["team"] == "data"])
    error_message = "a bucket that is deleted with its data, or without its labels"
  }
}

run "what_matters_is_versioned_and_what_does_not_goes_away" {
  assert {
    condition = alltrue([
      for purpose, bucket in google_storage_bucket.this : bucket.versioning[0].enabled == (purpose != "staging")
    ])
    error_message = "versioning is off where it matters"
  }
  assert {
    condition = anytrue([
      for rule in google_storage_bucket.this["staging"].lifecycle_rule : one(rule.action).type == "Delete" && one(rule.condition).age == 14
    ])
    error_message = "files on their way stay for ever"
  }
  assert {
    condition = alltrue([
      for rule in google_storage_bucket.this["warehouse"].lifecycle_rule :
      one(rule.action).type != "Delete" || one(rule.condition).with_state == "ARCHIVED"
    ])
    error_message = "a rule deletes live objects of the warehouse"
  }
}

run "who_may_do_what" {
  variables {
    csv_readers = { scientists = "group:scientists@example.com" }
    analysts    = "analysts@example.com"
  }
  assert {
    condition     = length([for grant in google_storage_bucket_iam_member.runner : grant if endswith(grant.bucket, "-code") && grant.role != "roles/storage.objectViewer"]) == 0
    error_message = "a run may change the code that it runs"
  }
  assert {
    condition = toset([for grant in google_storage_bucket_iam_member.runner : grant.role]) == toset([
      "roles/storage.objectViewer", "roles/storage.objectUser", "roles/storage.legacyBucketReader"
    ])
    error_message = "the runner administers buckets"
  }
  assert {
    condition     = google_storage_bucket_iam_member.csv_readers["scientists"].bucket == "acme-data-prod-polyexpose-exchange" && google_storage_bucket_iam_member.csv_readers["scientists"].role == "roles/storage.objectViewer"
    error_message = "readers of CSV do something else than read the exchange bucket"
  }
  assert {
    condition     = google_storage_bucket_iam_member.analysts[0].bucket == "acme-data-prod-polyexpose-warehouse" && google_storage_bucket_iam_member.analysts[0].role == "roles/storage.objectViewer"
    error_message = "analysts do something else than read the warehouse"
  }
}

run "a_key_encrypts_every_bucket" {
  variables {
    kms_key = "projects/acme-keys/locations/europe-west1/keyRings/data/cryptoKeys/polyexpose"
  }
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.this : bucket.encryption[0].default_kms_key_name == var.kms_key])
    error_message = "a bucket is not encrypted with the key"
  }
}

run "everybody_is_refused" {
  command = plan
  variables {
    csv_readers = { world = "allUsers" }
  }
  expect_failures = [var.csv_readers]
}

run "a_key_of_another_region_is_refused" {
  command = plan
  variables {
    kms_key = "projects/acme-keys/locations/us-central1/keyRings/data/cryptoKeys/polyexpose"
  }
  expect_failures = [var.kms_key]
}

run "a_label_in_capitals_is_refused" {
  command = plan
  variables {
    labels = { Team = "data" }
  }
  expect_failures = [var.labels]
}

run "a_name_that_is_too_long_is_refused" {
  command = plan
  variables {
    name = "polyexpose-production"
  }
  expect_failures = [var.name]
}

run "a_multi_region_is_refused" {
  command = plan
  variables {
    region = "EU"
  }
  expect_failures = [var.region]
}

run "a_project_number_is_refused" {
  command = plan
  variables {
    project = "123456789012"
  }
  expect_failures = [var.project]
}

run "staging_of_hours_is_refused" {
  command = plan
  variables {
    staging_days = 1
  }
  expect_failures = [var.staging_days]
}
