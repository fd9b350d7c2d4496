output "network" {
  description = "Id of the network; known once Cloud SQL can have addresses in it."
  value       = google_compute_network.this.id
  depends_on  = [google_service_networking_connection.services]
}

output "subnet" {
  description = "Id of the subnet."
  value       = google_compute_subnetwork.this.id
}

output "cluster_tag" {
  description = "Network tag that the machines of a cluster need."
  value       = local.cluster_tag
}
