# Topics for events, and a subscription per consumer, each of which keeps the order of a key.

resource "google_pubsub_topic" "this" {
  for_each                   = var.topics
  project                    = var.project
  name                       = each.key
  labels                     = var.labels
  kms_key_name               = var.kms_key
  message_retention_duration = "${each.value.retention_hours * 3600}s"

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }
}

resource "google_pubsub_topic_iam_member" "runner" {
  for_each = merge([
    # Viewer: a run looks whether its topic is there.
    for topic in keys(var.topics) : { for role in ["roles/pubsub.publisher", "roles/pubsub.viewer"] : "${topic} ${role}" => { topic = topic, role = role } }
  ]...)
  project = var.project
  topic   = google_pubsub_topic.this[each.value.topic].name
  role    = each.value.role
  member  = var.runner
}

resource "google_pubsub_subscription" "this" {
  for_each                   = var.subscriptions
  project                    = var.project
  name                       = each.key
  topic                      = google_pubsub_topic.this[each.value.topic].id
  labels                     = var.labels
  enable_message_ordering    = true
  ack_deadline_seconds       = 60
  message_retention_duration = "604800s"

  # Never: a consumer that was away for a month still has its place.
  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }
}

resource "google_pubsub_subscription_iam_member" "reader" {
  for_each     = var.subscriptions
  project      = var.project
  subscription = google_pubsub_subscription.this[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = each.value.member
}
