# Starts the workflow template by the clock. A run with nothing to do ends in seconds and changes nothing, but its
# cluster is started all the same: a schedule is the price of freshness.

resource "google_cloud_scheduler_job" "run" {
  for_each         = var.runs
  project          = var.project
  region           = var.region
  name             = "${var.name}-${each.key}"
  description      = "Exposes ${each.value.product}"
  schedule         = each.value.schedule
  time_zone        = var.time_zone
  paused           = var.paused
  attempt_deadline = "60s"

  retry_config {
    retry_count = 3
  }

  http_target {
    http_method = "POST"
    uri         = "https://dataproc.googleapis.com/v1/projects/${var.project}/regions/${var.region}/workflowTemplates/${var.template}:instantiate"
    headers     = { "Content-Type" = "application/json" }
    body = base64encode(jsonencode({
      # While a run with this tag goes on, no second is started: neither by a retry nor by the next hour.
      requestId = "${var.name}-${each.key}"
      parameters = {
        PRODUCT  = each.value.product
        PROFILE  = var.profile
        SNAPSHOT = each.value.snapshot
      }
    }))
    oauth_token {
      service_account_email = var.scheduler
      scope                 = "https://www.googleapis.com/auth/cloud-platform"
    }
  }
}
