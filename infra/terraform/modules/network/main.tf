# A network without a way in from the internet. The way out (NAT) is for pip.packages and Spark's jars; Google's own
# services, Cloud Run with internal ingress among them, are reached by Private Google Access.

resource "google_compute_network" "this" {
  project                 = var.project
  name                    = var.name
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "this" {
  project                  = var.project
  name                     = var.name
  region                   = var.region
  network                  = google_compute_network.this.id
  ip_cidr_range            = var.subnet_range
  private_ip_google_access = true
}

# The machines of a cluster talk to each other on any port, and to nobody else: the network's default refuses the rest.
resource "google_compute_firewall" "cluster" {
  project     = var.project
  name        = "${var.name}-cluster"
  network     = google_compute_network.this.id
  direction   = "INGRESS"
  source_tags = [local.cluster_tag]
  target_tags = [local.cluster_tag]
  allow { protocol = "tcp" }
  allow { protocol = "udp" }
  allow { protocol = "icmp" }
}

resource "google_compute_router" "this" {
  project = var.project
  name    = var.name
  region  = var.region
  network = google_compute_network.this.id
}

resource "google_compute_router_nat" "this" {
  project                            = var.project
  name                               = var.name
  region                             = var.region
  router                             = google_compute_router.this.name
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"
}

# Cloud SQL has its private address in a peered network of Google's, out of this range.
resource "google_compute_global_address" "services" {
  project       = var.project
  name          = "${var.name}-services"
  network       = google_compute_network.this.id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 20
}

resource "google_service_networking_connection" "services" {
  network                 = google_compute_network.this.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.services.name]
}

locals {
  cluster_tag = "${var.name}-cluster"
}
