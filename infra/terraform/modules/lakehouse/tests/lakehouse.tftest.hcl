mock_provider "google" {
  source = "../../mocks"
}

variables {
  project = "acme-data-prod"
  bucket  = "acme-data-prod-polyexpose-warehouse"
}

run "the_catalog_is_that_of_the_bucket" {
  assert {
    condition     = google_biglake_iceberg_catalog.this.name == var.bucket && google_biglake_iceberg_catalog.this.catalog_type == "CATALOG_TYPE_GCS_BUCKET"
    error_message = "the API refuses a catalog of a bucket by another name"
  }
  assert {
    condition     = google_biglake_iceberg_catalog.this.credential_mode == "CREDENTIAL_MODE_END_USER" && length(google_storage_bucket_iam_member.vending) == 0
    error_message = "credentials are handed out unasked"
  }
  assert {
    condition     = output.catalog.warehouse == "gs://acme-data-prod-polyexpose-warehouse" && tomap(output.catalog.properties) == tomap({ "header.x-goog-user-project" = "acme-data-prod" })
    error_message = "the configuration does not lead to the catalog"
  }
}

run "handing_out_credentials" {
  variables {
    vended_credentials = true
  }
  assert {
    condition     = google_biglake_iceberg_catalog.this.credential_mode == "CREDENTIAL_MODE_VENDED_CREDENTIALS" && google_storage_bucket_iam_member.vending[0].member == "serviceAccount:mocked@gcp-sa-biglakerestcatalog.iam.gserviceaccount.com"
    error_message = "the catalog's account cannot reach the bucket"
  }
  assert {
    condition     = output.catalog.properties["header.X-Iceberg-Access-Delegation"] == "vended-credentials"
    error_message = "engines do not ask for the credentials"
  }
}
