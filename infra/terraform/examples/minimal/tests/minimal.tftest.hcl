mock_provider "google" {
  source = "../../mocks"
}

variables {
  project = "acme-data-prod"
  region  = "europe-west1"
}

run "the_configuration_leads_to_what_was_made" {
  assert {
    condition     = jsonencode(yamldecode(output.environment)) == jsonencode(yamldecode(file("tests/environment.yaml")))
    error_message = "output environment is not tests/environment.yaml, which polyexpose is known to accept"
  }
}

run "a_misspelt_region_is_refused_before_anything_is_made" {
  command = plan
  variables {
    region = "europe_west1"
  }
  expect_failures = [var.region]
}
