output "events" {
  description = "Of block `ports.events` of the environment's configuration."
  value = {
    sink         = "pubsub"
    create_topic = false
    pubsub       = { project = var.project }
  }
}
