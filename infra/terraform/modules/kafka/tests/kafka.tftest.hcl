mock_provider "google" {
  source = "../../mocks"
}

variables {
  project = "acme-data-prod"
  region  = "europe-west1"
  subnet  = "projects/acme-data-prod/regions/europe-west1/subnetworks/polyexpose"
  runner  = "runner@acme-data-prod.iam.gserviceaccount.com"
  topics = {
    orders    = { compacted = true, retention_hours = 0 }
    customers = { partitions = 6 }
  }
  consumers = { billing = { account = "billing@acme-apps.iam.gserviceaccount.com", topics = ["orders"] } }
}

run "topics_are_what_was_asked_for" {
  assert {
    condition     = google_managed_kafka_topic.this["orders"].configs["cleanup.policy"] == "compact" && google_managed_kafka_topic.this["orders"].configs["retention.ms"] == "-1"
    error_message = "a compacted topic loses events"
  }
  assert {
    condition     = google_managed_kafka_topic.this["customers"].partition_count == 6 && google_managed_kafka_topic.this["customers"].configs["retention.ms"] == "604800000"
    error_message = "partitions or retention differ"
  }
  assert {
    condition     = alltrue([for topic in google_managed_kafka_topic.this : topic.replication_factor == 3])
    error_message = "a topic is lost with one broker"
  }
}

run "a_consumer_reads_its_topics_and_writes_none" {
  assert {
    condition = toset([
      for entry in google_managed_kafka_acl.topic["orders"].acl_entries : entry.operation if entry.principal == "User:billing@acme-apps.iam.gserviceaccount.com"
    ]) == toset(["READ", "DESCRIBE"])
    error_message = "a consumer may do something else than read"
  }
  assert {
    condition = [
      for entry in google_managed_kafka_acl.topic["customers"].acl_entries : entry.principal
    ] == ["User:runner@acme-data-prod.iam.gserviceaccount.com"]
    error_message = "somebody reads a topic that is not theirs"
  }
  assert {
    condition     = alltrue([for grant in google_project_iam_member.client : grant.role == "roles/managedkafka.client"])
    error_message = "a client may do more than connect"
  }
}

run "the_configuration_leads_to_the_brokers" {
  assert {
    condition     = endswith(output.events.kafka.bootstrap_servers, ":9092") && output.events.kafka.sasl_mechanism == "OAUTHBEARER"
    error_message = "port 9092 takes Google's tokens"
  }
  assert {
    condition     = !output.events.create_topic
    error_message = "a run makes topics beside those of Terraform"
  }
}

run "without_topics_a_run_makes_its_own" {
  variables {
    topics    = {}
    consumers = {}
  }
  assert {
    condition     = output.events.create_topic && length(google_managed_kafka_acl.topic) == 0
    error_message = "nobody makes the topics"
  }
}

run "two_vcpus_are_too_few" {
  command = plan
  variables {
    vcpus = 2
  }
  expect_failures = [var.vcpus]
}

run "memory_follows_the_vcpus" {
  command = plan
  variables {
    vcpus      = 3
    memory_gib = 64
  }
  expect_failures = [var.memory_gib]
}

run "a_consumer_of_an_unknown_topic_is_refused" {
  command = plan
  variables {
    consumers = { billing = { account = "billing@acme-apps.iam.gserviceaccount.com", topics = ["order"] } }
  }
  expect_failures = [var.consumers]
}
