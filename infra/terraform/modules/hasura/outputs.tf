output "graphql" {
  description = "Address that applications call, with /v1/graphql behind it."
  value       = google_cloud_run_v2_service.hasura["graphql"].uri
}

output "endpoint" {
  description = "Address for `ports.gql.hasura.endpoint`: inside the network only."
  value       = google_cloud_run_v2_service.hasura["metadata"].uri
}

output "database" {
  description = "The PostgreSQL: instance, and host for the secret database_url."
  value = {
    instance = google_sql_database_instance.metadata.name
    host     = google_sql_database_instance.metadata.private_ip_address
    name     = google_sql_database.metadata.name
  }
}
