output "events" {
  description = "Of block `ports.events` of the environment's configuration; empty where it is off."
  value = !var.enabled ? {} : {
    pubsublite = {
      project  = var.project
      location = var.zone == null ? var.region : "${var.region}-${var.zone}"
    }
  }
}
