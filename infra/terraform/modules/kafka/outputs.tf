output "events" {
  description = "Of block `ports.events` of the environment's configuration."
  value = {
    sink = "kafka"
    # Where Terraform owns the topics, a run does not make others.
    create_topic = length(var.topics) == 0
    kafka = {
      bootstrap_servers  = "${local.bootstrap}:9092"
      security_protocol  = "SASL_SSL"
      sasl_mechanism     = "OAUTHBEARER"
      replication_factor = 3
    }
  }
}
