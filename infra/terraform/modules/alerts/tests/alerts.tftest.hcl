mock_provider "google" {
  source = "../../mocks"
}

variables {
  project = "acme-data-prod"
  emails  = { oncall = "oncall@example.com" }
}

run "somebody_is_told" {
  assert {
    condition = alltrue([
      for policy in [google_monitoring_alert_policy.failed, google_monitoring_alert_policy.lag, google_monitoring_alert_policy.silence] :
      tolist(policy.notification_channels) == tolist([google_monitoring_notification_channel.email["oncall"].name])
    ])
    error_message = "an alert goes to nobody"
  }
}

run "failed_exposures_are_counted_however_the_line_arrives" {
  assert {
    condition = alltrue([
      for form in ["jsonPayload.outcome=\"failed\"", "jsonPayload.message=~", "textPayload=~"] : strcontains(google_logging_metric.failed.filter, form)
    ])
    error_message = "a form of the line is not looked for"
  }
  assert {
    # What the filter looks for in text is found in a receipt, written as polyexpose writes it or without blanks.
    condition = alltrue([
      for line in ["{\"product\": \"shop\", \"outcome\": \"failed\"}", "{\"product\":\"shop\",\"outcome\":\"failed\"}"] :
      can(regex(replace(regex("textPayload=~\"(.*)\"\\)$", google_logging_metric.failed.filter)[0], "\\\"", "\""), line))
    ])
    error_message = "the pattern does not find a failed exposure"
  }
  assert {
    condition = !can(regex(
      replace(regex("textPayload=~\"(.*)\"\\)$", google_logging_metric.failed.filter)[0], "\\\"", "\""), "{\"outcome\": \"published\", \"error\": \"failed\"}"
    ))
    error_message = "the pattern takes a published exposure for a failed one"
  }
}

run "the_alerts_read_the_metrics_that_are_written" {
  assert {
    condition = (
      strcontains(google_monitoring_alert_policy.failed.conditions[0].condition_threshold[0].filter, "logging.googleapis.com/user/${google_logging_metric.failed.name}\"") &&
      strcontains(google_monitoring_alert_policy.lag.conditions[0].condition_threshold[0].filter, "logging.googleapis.com/user/${google_logging_metric.lag.name}\"") &&
      strcontains(google_monitoring_alert_policy.silence.conditions[0].condition_absent[0].filter, "logging.googleapis.com/user/${google_logging_metric.succeeded.name}\"")
    )
    error_message = "an alert reads a metric that nothing writes"
  }
  assert {
    condition = alltrue([
      for metric in [google_logging_metric.failed, google_logging_metric.lag, google_logging_metric.succeeded] : strcontains(metric.filter, "cloud_dataproc_job")
    ])
    error_message = "the metrics look at other logs"
  }
}

run "the_limits_are_those_that_were_given" {
  variables {
    lag_minutes   = 30
    silence_hours = 2
    runs_on       = "serverless"
  }
  assert {
    condition     = google_monitoring_alert_policy.lag.conditions[0].condition_threshold[0].threshold_value == 1800 && google_monitoring_alert_policy.silence.conditions[0].condition_absent[0].duration == "7200s"
    error_message = "an alert has other limits"
  }
  assert {
    condition     = strcontains(google_monitoring_alert_policy.failed.conditions[0].condition_threshold[0].filter, "resource.type=\"cloud_dataproc_batch\"")
    error_message = "batches are not looked at"
  }
}

run "nobody_is_refused" {
  command = plan
  variables {
    emails = {}
  }
  expect_failures = [var.emails]
}

run "an_absence_of_days_cannot_be_noticed" {
  command = plan
  variables {
    silence_hours = 48
  }
  expect_failures = [var.silence_hours]
}
