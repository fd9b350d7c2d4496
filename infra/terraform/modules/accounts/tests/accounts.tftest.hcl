mock_provider "google" {
  source = "../../mocks"
}

variables {
  project = "acme-data-prod"
  roles   = ["runner", "scheduler", "hasura", "hasura-reader"]
}

run "one_account_per_role" {
  assert {
    condition = [for account in google_service_account.this : account.account_id] == [
      "polyexpose-hasura", "polyexpose-hasura-reader", "polyexpose-runner", "polyexpose-scheduler"
    ]
    error_message = "the accounts are not the four roles"
  }
}

run "the_runner_reads_no_data_by_its_project_role" {
  assert {
    condition = alltrue([
      for permission in google_project_iam_custom_role.runner.permissions :
      !can(regex("^(storage|secretmanager|iam|resourcemanager|pubsub|managedkafka|bigquery\\.(tables|datasets|routines))\\.", permission))
    ])
    error_message = "the runner's project-wide role reaches data, secrets or policies"
  }
  assert {
    condition     = google_project_iam_member.runner.role == google_project_iam_custom_role.runner.name && google_project_iam_member.runner_catalog.role == "roles/biglake.editor"
    error_message = "the runner has another project-wide role"
  }
}

run "the_scheduler_only_starts_the_template" {
  assert {
    condition     = toset(google_project_iam_custom_role.scheduler[0].permissions) == toset(["dataproc.workflowTemplates.instantiate"])
    error_message = "the scheduler may do more than start a workflow template"
  }
  assert {
    condition     = google_service_account_iam_member.scheduler_starts_runner[0].service_account_id == google_service_account.this["runner"].name
    error_message = "the scheduler acts as another account than the runner"
  }
}

run "what_is_not_wanted_is_not_made" {
  variables {
    roles = ["runner"]
  }
  assert {
    condition     = length(google_service_account.this) == 1 && length(google_project_iam_member.scheduler) == 0 && length(google_project_iam_member.hasura_reader) == 0 && length(google_project_iam_member.analysts_catalog) == 0
    error_message = "accounts or grants nobody asked for"
  }
}

run "analysts_read" {
  variables {
    analysts = "analysts@example.com"
  }
  assert {
    condition     = alltrue([for grant in google_project_iam_member.analysts_catalog : grant.member == "group:analysts@example.com"]) && toset(keys(google_project_iam_member.analysts_catalog)) == toset(["roles/biglake.viewer", "roles/serviceusage.serviceUsageConsumer"])
    error_message = "analysts get something else than reading the catalog"
  }
}

run "an_unknown_role_is_refused" {
  command = plan
  variables {
    roles = ["runner", "admin"]
  }
  expect_failures = [var.roles]
}

run "without_a_runner_there_is_nothing" {
  command = plan
  variables {
    roles = ["scheduler"]
  }
  expect_failures = [var.roles]
}

run "everybody_is_no_group" {
  command = plan
  variables {
    analysts = "allUsers"
  }
  expect_failures = [var.analysts]
}
