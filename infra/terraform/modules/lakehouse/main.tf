# The Iceberg REST catalog of a bucket (Lakehouse, once BigLake metastore).

resource "google_biglake_iceberg_catalog" "this" {
  project = var.project
  # The API wants the bucket's own name for a catalog of this type.
  name            = var.bucket
  catalog_type    = "CATALOG_TYPE_GCS_BUCKET"
  credential_mode = var.vended_credentials ? "CREDENTIAL_MODE_VENDED_CREDENTIALS" : "CREDENTIAL_MODE_END_USER"
}

# The account that Google made for this catalog: what it hands out cannot do more than it.
resource "google_storage_bucket_iam_member" "vending" {
  count  = var.vended_credentials ? 1 : 0
  bucket = var.bucket
  role   = "roles/storage.objectUser"
  member = "serviceAccount:${google_biglake_iceberg_catalog.this.biglake_service_account}"
}
