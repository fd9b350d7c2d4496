mock_provider "google" {
  source = "../../mocks"
}

variables {
  project_number = "123456789012"
  kms_key        = "projects/acme-keys/locations/europe-west1/keyRings/data/cryptoKeys/polyexpose"
}

run "agents_of_the_project_use_the_key_and_cannot_manage_it" {
  assert {
    condition = alltrue([
      for grant in google_kms_crypto_key_iam_member.agent :
      grant.role == "roles/cloudkms.cryptoKeyEncrypterDecrypter" && strcontains(grant.member, "-123456789012@") && endswith(grant.member, ".iam.gserviceaccount.com")
    ])
    error_message = "another than Google's agents of this project uses the key"
  }
}

run "a_project_id_is_no_number" {
  command = plan
  variables {
    project_number = "acme-data-prod"
  }
  expect_failures = [var.project_number]
}

run "an_unknown_service_is_refused" {
  command = plan
  variables {
    services = ["storage", "gke"]
  }
  expect_failures = [var.services]
}

run "a_version_of_a_key_is_refused" {
  command = plan
  variables {
    kms_key = "projects/acme-keys/locations/europe-west1/keyRings/data/cryptoKeys/polyexpose/cryptoKeyVersions/1"
  }
  expect_failures = [var.kms_key]
}
