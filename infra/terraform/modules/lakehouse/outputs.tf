output "catalog" {
  description = "Block `catalog` of the environment's configuration; what does not differ is in conf/profiles/gcp.yaml."
  value = {
    warehouse = "gs://${google_biglake_iceberg_catalog.this.name}"
    properties = merge(
      { "header.x-goog-user-project" = var.project },
      var.vended_credentials ? { "header.X-Iceberg-Access-Delegation" = "vended-credentials" } : {}
    )
  }
}
