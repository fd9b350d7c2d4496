# Managed Service for Apache Kafka. Who may connect at all is granted on the project, which is its smallest scope; what
# a client may do with a topic is the topic's access list.

locals {
  reads = { for topic in keys(var.topics) : topic => [for consumer in values(var.consumers) : consumer.account if contains(consumer.topics, topic)] }
  # A provider that does not tell the address yet: the form that it has had from the start.
  bootstrap = lookup(
    google_managed_kafka_cluster.this, "bootstrap_address",
    "bootstrap.${google_managed_kafka_cluster.this.cluster_id}.${var.region}.managedkafka.${var.project}.cloud.goog"
  )
}

resource "google_managed_kafka_cluster" "this" {
  project    = var.project
  cluster_id = var.name
  location   = var.region
  labels     = var.labels

  capacity_config {
    vcpu_count   = var.vcpus
    memory_bytes = var.memory_gib * 1024 * 1024 * 1024
  }

  gcp_config {
    kms_key = var.kms_key
    access_config {
      network_configs {
        subnet = var.subnet
      }
    }
  }

  rebalance_config {
    mode = "AUTO_REBALANCE_ON_SCALE_UP"
  }
}

resource "google_managed_kafka_topic" "this" {
  for_each           = var.topics
  project            = var.project
  location           = var.region
  cluster            = google_managed_kafka_cluster.this.cluster_id
  topic_id           = each.key
  partition_count    = each.value.partitions
  replication_factor = 3
  configs = {
    "cleanup.policy" = each.value.compacted ? "compact" : "delete"
    "retention.ms"   = each.value.retention_hours == 0 ? "-1" : tostring(each.value.retention_hours * 3600000)
  }
}

resource "google_managed_kafka_acl" "topic" {
  for_each = var.topics
  project  = var.project
  location = var.region
  cluster  = google_managed_kafka_cluster.this.cluster_id
  acl_id   = "topic/${google_managed_kafka_topic.this[each.key].topic_id}"

  acl_entries {
    principal       = "User:${var.runner}"
    permission_type = "ALLOW"
    operation       = "ALL"
    host            = "*"
  }

  dynamic "acl_entries" {
    for_each = { for pair in setproduct(local.reads[each.key], ["READ", "DESCRIBE"]) : join(" ", pair) => pair }
    content {
      principal       = "User:${acl_entries.value[0]}"
      permission_type = "ALLOW"
      operation       = acl_entries.value[1]
      host            = "*"
    }
  }
}

resource "google_project_iam_member" "client" {
  for_each = merge({ runner = var.runner }, { for label, consumer in var.consumers : "consumer-${label}" => consumer.account })
  project  = var.project
  role     = "roles/managedkafka.client"
  member   = "serviceAccount:${each.value}"
}
