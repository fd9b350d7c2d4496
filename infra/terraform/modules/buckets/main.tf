# Five buckets, by who writes and who reads: a grant is on a whole bucket, so that no prefix can be got wrong.

locals {
  buckets = {
    code      = { versioned = true, runner = ["roles/storage.objectViewer"] }
    warehouse = { versioned = true, runner = local.writes }
    exchange  = { versioned = true, runner = local.writes }
    state     = { versioned = true, runner = local.writes }
    staging   = { versioned = false, runner = local.writes }
  }
  # Objects, and the bucket's own metadata, which the connector and the cluster look at.
  writes = ["roles/storage.objectUser", "roles/storage.legacyBucketReader"]
  runner_grants = merge([
    for purpose, bucket in local.buckets : { for role in bucket.runner : "${purpose} ${role}" => { purpose = purpose, role = role } }
  ]...)
}

resource "google_storage_bucket" "this" {
  for_each                    = local.buckets
  project                     = var.project
  name                        = "${var.project}-${var.name}-${each.key}"
  location                    = var.region
  labels                      = var.labels
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = var.force_destroy

  versioning {
    enabled = each.value.versioned
  }

  # Files on their way are made again by the next run: nothing of them is worth keeping, or paying for, once deleted.
  soft_delete_policy {
    retention_duration_seconds = each.value.versioned ? 604800 : 0
  }

  dynamic "lifecycle_rule" {
    for_each = each.value.versioned ? [var.noncurrent_days] : []
    content {
      action { type = "Delete" }
      condition {
        days_since_noncurrent_time = lifecycle_rule.value
        with_state                 = "ARCHIVED"
      }
    }
  }

  dynamic "lifecycle_rule" {
    for_each = each.value.versioned ? [] : [var.staging_days]
    content {
      action { type = "Delete" }
      condition { age = lifecycle_rule.value }
    }
  }

  lifecycle_rule {
    action { type = "AbortIncompleteMultipartUpload" }
    condition { age = 2 }
  }

  dynamic "encryption" {
    for_each = var.kms_key == null ? [] : [var.kms_key]
    content {
      default_kms_key_name = encryption.value
    }
  }
}

resource "google_storage_bucket_iam_member" "runner" {
  for_each = local.runner_grants
  bucket   = google_storage_bucket.this[each.value.purpose].name
  role     = each.value.role
  member   = var.runner
}

resource "google_storage_bucket_iam_member" "csv_readers" {
  for_each = var.csv_readers
  bucket   = google_storage_bucket.this["exchange"].name
  role     = "roles/storage.objectViewer"
  member   = each.value
}

resource "google_storage_bucket_iam_member" "analysts" {
  count  = var.analysts == null ? 0 : 1
  bucket = google_storage_bucket.this["warehouse"].name
  role   = "roles/storage.objectViewer"
  member = "group:${var.analysts}"
}
