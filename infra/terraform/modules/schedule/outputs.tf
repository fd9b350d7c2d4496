output "jobs" {
  description = "Names of the schedules."
  value       = [for job in google_cloud_scheduler_job.run : job.name]
}
