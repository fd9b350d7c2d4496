mock_provider "google" {
  source = "../../mocks"
}

variables {
  project = "acme-data-prod"
  region  = "europe-west1"
  labels  = { team = "data" }
  emails  = { oncall = "oncall@example.com" }
  topics  = ["orders"]
  runs    = { hourly = { schedule = "15 * * * *", product = "gs://acme-data-prod-polyexpose-code/products" } }
}

run "the_configuration_leads_to_what_was_made" {
  assert {
    condition = (
      jsonencode(yamldecode(replace(output.environment, yamldecode(output.environment).ports.events.kafka.bootstrap_servers, "BOOTSTRAP:9092"))) ==
      jsonencode(yamldecode(file("tests/environment.yaml")))
    )
    error_message = "output environment is not tests/environment.yaml, which polyexpose is known to accept"
  }
}

run "everything_can_be_encrypted_with_one_key" {
  variables {
    kms_key        = "projects/acme-keys/locations/europe-west1/keyRings/data/cryptoKeys/polyexpose"
    project_number = "123456789012"
  }
  assert {
    condition     = length(output.buckets) == 5 && length(output.secrets) == 4
    error_message = "something is missing with a key"
  }
}

run "pubsub_instead_of_kafka" {
  variables {
    sink      = "pubsub"
    consumers = { billing = { account = "billing@acme-apps.iam.gserviceaccount.com", topic = "orders" } }
  }
  assert {
    condition     = yamldecode(output.environment).ports.events.sink == "pubsub" && !can(yamldecode(output.environment).ports.events.kafka)
    error_message = "the configuration leads to another sink"
  }
}

run "a_key_of_another_region_is_refused_before_anything_is_made" {
  command = plan
  variables {
    kms_key = "projects/acme-keys/locations/us-central1/keyRings/data/cryptoKeys/polyexpose"
  }
  expect_failures = [var.kms_key]
}

run "another_sink_is_refused" {
  command = plan
  variables {
    sink = "rabbitmq"
  }
  expect_failures = [var.sink]
}
