output "gql" {
  description = "Of block `ports.gql` of the environment's configuration: where BigQuery is."
  value = {
    project  = var.project
    dataset  = google_bigquery_dataset.served.dataset_id
    location = google_bigquery_dataset.served.location
  }
}
