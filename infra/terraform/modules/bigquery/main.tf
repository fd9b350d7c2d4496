# Consumers see one dataset, of views; the copies that the views read are in another, which nobody but the runner can
# read. The access lists are complete: a grant made by hand is taken away by the next apply.

resource "google_bigquery_dataset" "served" {
  project                    = var.project
  dataset_id                 = var.dataset
  location                   = var.region
  description                = "Data products, as views; made by polyexpose"
  labels                     = var.labels
  delete_contents_on_destroy = var.delete_contents

  access {
    role          = "OWNER"
    special_group = "projectOwners"
  }
  access {
    role          = "WRITER"
    user_by_email = var.runner
  }
  dynamic "access" {
    for_each = var.reader_accounts
    content {
      role          = "READER"
      user_by_email = access.value
    }
  }
  dynamic "access" {
    for_each = var.reader_groups
    content {
      role           = "READER"
      group_by_email = access.value
    }
  }

  dynamic "default_encryption_configuration" {
    for_each = var.kms_key == null ? [] : [var.kms_key]
    content {
      kms_key_name = default_encryption_configuration.value
    }
  }
}

resource "google_bigquery_dataset" "versions" {
  project                    = var.project
  dataset_id                 = "${var.dataset}__versions"
  location                   = var.region
  description                = "Copies that the views of ${var.dataset} read; made and deleted by polyexpose"
  labels                     = var.labels
  delete_contents_on_destroy = var.delete_contents

  access {
    role          = "OWNER"
    special_group = "projectOwners"
  }
  access {
    role          = "WRITER"
    user_by_email = var.runner
  }
  # The dataset, not its views: a view that is replaced stays authorised.
  access {
    dataset {
      dataset {
        project_id = var.project
        dataset_id = google_bigquery_dataset.served.dataset_id
      }
      target_types = ["VIEWS"]
    }
  }

  dynamic "default_encryption_configuration" {
    for_each = var.kms_key == null ? [] : [var.kms_key]
    content {
      kms_key_name = default_encryption_configuration.value
    }
  }
}
