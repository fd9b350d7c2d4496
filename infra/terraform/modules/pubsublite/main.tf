# Pub/Sub Lite, for those who have it: Google turns it off on 2027-01-31. Off unless asked for.

check "end_of_life" {
  assert {
    condition     = !var.enabled
    error_message = "Pub/Sub Lite ends on 2027-01-31: what is made here stops working then. Move to module kafka: polyexpose's events arrive there with the same keys and values."
  }
}

locals {
  topics = var.enabled ? var.topics : {}
}

resource "google_pubsub_lite_topic" "this" {
  for_each = local.topics
  project  = var.project
  name     = each.key
  region   = var.region
  zone     = var.zone == null ? null : "${var.region}-${var.zone}"

  partition_config {
    count = each.value.partitions
    capacity {
      publish_mib_per_sec   = 4
      subscribe_mib_per_sec = 8
    }
  }

  retention_config {
    per_partition_bytes = each.value.gib_per_partition * 1024 * 1024 * 1024
  }
}

# Grants on single topics cannot be made by Terraform.
resource "google_project_iam_member" "runner" {
  for_each = var.enabled ? toset(["roles/pubsublite.publisher", "roles/pubsublite.viewer"]) : toset([])
  project  = var.project
  role     = each.key
  member   = var.runner
}
