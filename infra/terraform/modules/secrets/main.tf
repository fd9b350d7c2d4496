# The containers of secrets, and who reads each. The values are put in by hand (infra/README.md): a value that
# Terraform knows is in its state.

locals {
  grants = merge([
    for secret, members in var.readers : { for label, member in members : "${secret} ${label}" => { secret = secret, member = member } }
  ]...)
}

resource "google_secret_manager_secret" "this" {
  for_each  = var.readers
  project   = var.project
  secret_id = "${var.name}-${each.key}"
  labels    = var.labels
  replication {
    user_managed {
      replicas {
        location = var.region
        dynamic "customer_managed_encryption" {
          for_each = var.kms_key == null ? [] : [var.kms_key]
          content {
            kms_key_name = customer_managed_encryption.value
          }
        }
      }
    }
  }
}

resource "google_secret_manager_secret_iam_member" "reader" {
  for_each  = local.grants
  project   = var.project
  secret_id = google_secret_manager_secret.this[each.value.secret].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = each.value.member
}
