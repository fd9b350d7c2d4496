mock_provider "google" {
  source = "../../mocks"
}

variables {
  project = "acme-data-prod"
  region  = "europe-west1"
  runner  = "serviceAccount:runner@acme-data-prod.iam.gserviceaccount.com"
  topics  = { orders = {} }
}

run "it_is_off_unless_asked_for" {
  assert {
    condition     = length(google_pubsub_lite_topic.this) == 0 && length(google_project_iam_member.runner) == 0 && length(output.events) == 0
    error_message = "something of a service that ends is made unasked"
  }
}

run "asked_for_it_warns" {
  variables {
    enabled = true
    zone    = "b"
  }
  expect_failures = [check.end_of_life]
  assert {
    condition     = google_pubsub_lite_topic.this["orders"].zone == "europe-west1-b" && output.events.pubsublite.location == "europe-west1-b"
    error_message = "the topic is elsewhere than the configuration says"
  }
}

run "a_whole_zone_is_refused" {
  command = plan
  variables {
    zone = "europe-west1-b"
  }
  expect_failures = [var.zone]
}
