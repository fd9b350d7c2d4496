mock_provider "google" {
  source = "../../mocks"
}

variables {
  project = "acme-data-prod"
  region  = "europe-west1"
}

run "nothing_comes_in_from_outside" {
  assert {
    condition     = length(google_compute_firewall.cluster.source_ranges) == 0 && toset(google_compute_firewall.cluster.source_tags) == toset(google_compute_firewall.cluster.target_tags)
    error_message = "the firewall lets in others than the cluster's own machines"
  }
  assert {
    condition     = google_compute_subnetwork.this.private_ip_google_access
    error_message = "machines without a public address cannot reach Google's services"
  }
  assert {
    condition     = !google_compute_network.this.auto_create_subnetworks
    error_message = "the network has subnets in every region"
  }
}

run "a_zone_is_no_region" {
  command = plan
  variables {
    region = "europe-west1-b"
  }
  expect_failures = [var.region]
}

run "a_range_is_a_range" {
  command = plan
  variables {
    subnet_range = "10.10.0.0"
  }
  expect_failures = [var.subnet_range]
}
