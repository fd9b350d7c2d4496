mock_provider "google" {
  source = "../../mocks"
}

variables {
  project         = "acme-data-prod"
  region          = "europe-west1"
  dataset         = "shop"
  runner          = "runner@acme-data-prod.iam.gserviceaccount.com"
  reader_accounts = { hasura = "hasura-reader@acme-data-prod.iam.gserviceaccount.com" }
  reader_groups   = ["developers@example.com"]
}

run "consumers_read_the_views_only" {
  assert {
    condition = (
      length([for access in google_bigquery_dataset.served.access : access if access.role == "READER"]) == 2 &&
      anytrue([for access in google_bigquery_dataset.served.access : access.role == "READER" && access.user_by_email == var.reader_accounts["hasura"]]) &&
      anytrue([for access in google_bigquery_dataset.served.access : access.role == "READER" && access.group_by_email == "developers@example.com"])
    )
    error_message = "the readers are not those that were named"
  }
  assert {
    condition     = length([for access in google_bigquery_dataset.versions.access : access if access.role == "READER"]) == 0
    error_message = "somebody reads the copies beside the views"
  }
  assert {
    condition = alltrue(flatten([
      for access in concat(tolist(google_bigquery_dataset.served.access), tolist(google_bigquery_dataset.versions.access)) : [
        for who in [access.special_group, access.iam_member] :
        who == null ? true : !contains(["allUsers", "allAuthenticatedUsers", "projectReaders", "projectWriters"], who)
      ]
    ]))
    error_message = "a dataset is open to everybody"
  }
}

run "the_views_may_read_the_copies" {
  assert {
    condition     = google_bigquery_dataset.versions.dataset_id == "shop__versions"
    error_message = "polyexpose keeps its copies in <dataset>__versions"
  }
  assert {
    condition = one(flatten([
      for access in google_bigquery_dataset.versions.access : [
        for allowed in access.dataset : [for each in allowed.dataset : each.dataset_id]
      ]
    ])) == "shop"
    error_message = "the views of the dataset are not authorised"
  }
  assert {
    condition = one(flatten([
      for access in google_bigquery_dataset.versions.access : [for allowed in access.dataset : tolist(allowed.target_types)]
    ])) == "VIEWS"
    error_message = "something else than the views is authorised"
  }
}

run "only_the_runner_writes" {
  assert {
    condition = alltrue([
      for dataset in [google_bigquery_dataset.served, google_bigquery_dataset.versions] :
      anytrue([for access in dataset.access : access.role == "WRITER" && access.user_by_email == var.runner])
    ])
    error_message = "the runner cannot write views or copies"
  }
  assert {
    condition = alltrue([
      for access in concat(tolist(google_bigquery_dataset.served.access), tolist(google_bigquery_dataset.versions.access)) :
      access.role != "WRITER" || access.user_by_email == var.runner
    ])
    error_message = "another writes"
  }
}

run "a_dataset_that_graphql_cannot_name_is_refused" {
  command = plan
  variables {
    dataset = "shop__live"
  }
  expect_failures = [var.dataset]
}

run "everybody_is_no_group" {
  command = plan
  variables {
    reader_groups = ["allAuthenticatedUsers"]
  }
  expect_failures = [var.reader_groups]
}
