mock_provider "google" {
  source = "../../mocks"
}

variables {
  project       = "acme-data-prod"
  region        = "europe-west1"
  runner        = "serviceAccount:runner@acme-data-prod.iam.gserviceaccount.com"
  topics        = { orders = {}, customers = { retention_hours = 24 } }
  subscriptions = { billing = { topic = "orders", member = "serviceAccount:billing@acme-apps.iam.gserviceaccount.com" } }
}

run "events_stay_in_the_region_and_in_order" {
  assert {
    condition     = alltrue([for topic in google_pubsub_topic.this : tolist(topic.message_storage_policy[0].allowed_persistence_regions) == tolist(["europe-west1"])])
    error_message = "events are stored in other regions"
  }
  assert {
    condition     = google_pubsub_subscription.this["billing"].enable_message_ordering && google_pubsub_subscription.this["billing"].expiration_policy[0].ttl == ""
    error_message = "a subscription loses the order of a key, or its place"
  }
  assert {
    condition     = google_pubsub_topic.this["customers"].message_retention_duration == "86400s"
    error_message = "events are kept for another time"
  }
}

run "the_runner_sends_and_the_consumer_reads" {
  assert {
    condition = toset([for grant in google_pubsub_topic_iam_member.runner : "${grant.topic} ${grant.role}"]) == toset([
      "orders roles/pubsub.publisher", "orders roles/pubsub.viewer", "customers roles/pubsub.publisher", "customers roles/pubsub.viewer",
    ])
    error_message = "the runner may do something else than send"
  }
  assert {
    condition     = google_pubsub_subscription_iam_member.reader["billing"].role == "roles/pubsub.subscriber" && length(google_pubsub_subscription_iam_member.reader) == 1
    error_message = "a consumer may do something else than read its subscription"
  }
}

run "a_subscription_of_nothing_is_refused" {
  command = plan
  variables {
    subscriptions = { billing = { topic = "order", member = "serviceAccount:billing@acme-apps.iam.gserviceaccount.com" } }
  }
  expect_failures = [var.subscriptions]
}

run "everybody_is_no_consumer" {
  command = plan
  variables {
    subscriptions = { billing = { topic = "orders", member = "allUsers" } }
  }
  expect_failures = [var.subscriptions]
}
