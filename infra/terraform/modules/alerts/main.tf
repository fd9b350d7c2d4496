# What a run says about itself, one JSON object a line (outcome, product, port, secondsBehind), becomes metrics, and
# the metrics alerts. How a line arrives differs: parsed into fields, or as the text of the line.

locals {
  # A metric of log lines is written under the resource of the lines, and an alert has to name it.
  resource = { cluster = "cloud_dataproc_job", serverless = "cloud_dataproc_batch" }[var.runs_on]
  source   = "resource.type=\"${local.resource}\""
  says = {
    for outcome in ["failed", "published", "unchanged"] : outcome => join(" OR ", [
      "jsonPayload.outcome=\"${outcome}\"",
      "jsonPayload.message=~\"\\\"outcome\\\": ?\\\"${outcome}\\\"\"",
      "textPayload=~\"\\\"outcome\\\": ?\\\"${outcome}\\\"\"",
    ])
  }
  labels = {
    product = "EXTRACT(jsonPayload.product)"
    port    = "EXTRACT(jsonPayload.port)"
  }
  metric_prefix = "logging.googleapis.com/user/${var.name}"
}

resource "google_logging_metric" "failed" {
  project     = var.project
  name        = "${var.name}/failed"
  description = "Exposures that failed"
  filter      = "${local.source} AND (${local.says["failed"]})"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    labels { key = "product" }
    labels { key = "port" }
  }

  label_extractors = local.labels
}

resource "google_logging_metric" "succeeded" {
  project     = var.project
  name        = "${var.name}/succeeded"
  description = "Exposures that published, or found nothing to do"
  filter      = "${local.source} AND (${local.says["published"]} OR ${local.says["unchanged"]})"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }
}

resource "google_logging_metric" "lag" {
  project         = var.project
  name            = "${var.name}/seconds_behind"
  description     = "How far a port is behind its table, as --mode status says"
  filter          = "${local.source} AND jsonPayload.secondsBehind>=0"
  value_extractor = "EXTRACT(jsonPayload.secondsBehind)"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
    unit        = "s"
    labels { key = "product" }
    labels { key = "port" }
  }

  # A second to a month and more, each step twice the one before.
  bucket_options {
    exponential_buckets {
      num_finite_buckets = 22
      growth_factor      = 2
      scale              = 1
    }
  }

  label_extractors = local.labels
}

resource "google_monitoring_notification_channel" "email" {
  for_each     = var.emails
  project      = var.project
  display_name = "${var.name} ${each.key}"
  type         = "email"
  labels       = { email_address = each.value }
  user_labels  = var.labels
}

locals {
  channels = [for channel in google_monitoring_notification_channel.email : channel.name]
}

resource "google_monitoring_alert_policy" "failed" {
  project               = var.project
  display_name          = "${var.name}: an exposure failed"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.channels
  user_labels           = var.labels

  conditions {
    display_name = "failed exposures"
    condition_threshold {
      filter          = "metric.type=\"${local.metric_prefix}/failed\" AND resource.type=\"${local.resource}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
        group_by_fields      = ["metric.label.product", "metric.label.port"]
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "Consumers still see the exposure before. The receipt says what happened: `--mode status`, or the newest file under `state.location`/PRODUCT/receipts/PORT. Exit 5: run again; 4: look at the target; 3: the contract was not kept; 2: the configuration."
  }

  depends_on = [google_logging_metric.failed]
}

resource "google_monitoring_alert_policy" "lag" {
  project               = var.project
  display_name          = "${var.name}: a port is behind"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels
  user_labels           = var.labels

  conditions {
    display_name = "more than ${var.lag_minutes} minutes behind"
    condition_threshold {
      filter          = "metric.type=\"${local.metric_prefix}/seconds_behind\" AND resource.type=\"${local.resource}\""
      comparison      = "COMPARISON_GT"
      threshold_value = var.lag_minutes * 60
      duration        = "0s"
      aggregations {
        alignment_period     = "600s"
        per_series_aligner   = "ALIGN_PERCENTILE_99"
        cross_series_reducer = "REDUCE_MAX"
        group_by_fields      = ["metric.label.product", "metric.label.port"]
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "The table has newer snapshots than consumers see. `--mode status` says which; `--mode plan` says what a run would do."
  }

  depends_on = [google_logging_metric.lag]
}

# What a failed exposure cannot say: that no run was started, or that none came to its end.
resource "google_monitoring_alert_policy" "silence" {
  project               = var.project
  display_name          = "${var.name}: nothing is exposed any more"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.channels
  user_labels           = var.labels

  conditions {
    display_name = "no exposure ended well for ${var.silence_hours} hours"
    condition_absent {
      filter   = "metric.type=\"${local.metric_prefix}/succeeded\" AND resource.type=\"${local.resource}\""
      duration = "${var.silence_hours * 3600}s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "Look at the schedule, then at the operations of the workflow template, then at the newest job's output."
  }

  depends_on = [google_logging_metric.succeeded]
}
