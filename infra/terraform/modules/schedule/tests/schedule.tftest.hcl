mock_provider "google" {
  source = "../../mocks"
}

variables {
  project   = "acme-data-prod"
  region    = "europe-west1"
  template  = "polyexpose"
  scheduler = "scheduler@acme-data-prod.iam.gserviceaccount.com"
  runs      = { hourly = { schedule = "15 * * * *", product = "gs://acme-code/products" } }
}

run "it_starts_the_template_as_the_scheduler" {
  assert {
    condition     = google_cloud_scheduler_job.run["hourly"].http_target[0].uri == "https://dataproc.googleapis.com/v1/projects/acme-data-prod/regions/europe-west1/workflowTemplates/polyexpose:instantiate"
    error_message = "another address than instantiate of the template"
  }
  assert {
    condition     = google_cloud_scheduler_job.run["hourly"].http_target[0].oauth_token[0].service_account_email == var.scheduler
    error_message = "it runs as somebody else"
  }
}

run "it_gives_every_parameter_that_the_template_wants" {
  assert {
    condition = (
      toset(keys(jsondecode(base64decode(google_cloud_scheduler_job.run["hourly"].http_target[0].body)).parameters)) ==
      toset([for parameter in yamldecode(file("../../../dataproc/workflow-template.yaml")).parameters : parameter.name])
    )
    error_message = "the template's parameters and those of the schedule differ"
  }
  assert {
    condition     = length(jsondecode(base64decode(google_cloud_scheduler_job.run["hourly"].http_target[0].body)).requestId) <= 40
    error_message = "the API takes tags of 40 characters"
  }
}

run "six_fields_are_no_cron" {
  command = plan
  variables {
    runs = { hourly = { schedule = "0 15 * * * *", product = "gs://acme-code/products" } }
  }
  expect_failures = [var.runs]
}

run "a_local_contract_is_refused" {
  command = plan
  variables {
    runs = { hourly = { schedule = "15 * * * *", product = "conf/products" } }
  }
  expect_failures = [var.runs]
}
