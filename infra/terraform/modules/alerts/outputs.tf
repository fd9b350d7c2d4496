output "policies" {
  description = "Names of the alert policies."
  value       = [for policy in [google_monitoring_alert_policy.failed, google_monitoring_alert_policy.lag, google_monitoring_alert_policy.silence] : policy.display_name]
}
