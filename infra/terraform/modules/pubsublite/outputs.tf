output "events" {
  description = "Of block `ports.events` of the environment's configuration; empty where it is off."
  value = {
    for key, value in {
      sink         = "pubsublite"
      create_topic = length(var.topics) == 0
      pubsublite = {
        project  = var.project
        location = var.zone == null ? var.region : "${var.region}-${var.zone}"
      }
    } : key => value if var.enabled
  }
}
