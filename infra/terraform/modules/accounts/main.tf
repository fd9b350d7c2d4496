# One service account per role. What they may do to data is granted on the bucket, dataset, secret or topic itself, by
# the module of that; project-wide they get only what has no smaller scope. infra/README.md has the table.

locals {
  described = {
    runner        = "Runs polyexpose on Managed Service for Apache Spark"
    scheduler     = "Starts the workflow template, and can do nothing else"
    hasura        = "Runs Hasura on Cloud Run: reads its own secrets, no data"
    hasura-reader = "Reads BigQuery for Hasura, by a key"
  }
  runner_permissions = [
    # roles/dataproc.worker without its storage permissions, which are for every bucket of the project.
    "dataproc.agents.create",
    "dataproc.agents.delete",
    "dataproc.agents.get",
    "dataproc.agents.list",
    "dataproc.agents.update",
    "dataproc.tasks.lease",
    "dataproc.tasks.listInvalidatedLeases",
    "dataproc.tasks.reportStatus",
    "logging.logEntries.create",
    "monitoring.metricDescriptors.create",
    "monitoring.metricDescriptors.get",
    "monitoring.metricDescriptors.list",
    "monitoring.monitoredResourceDescriptors.get",
    "monitoring.monitoredResourceDescriptors.list",
    "monitoring.timeSeries.create",
    # Load and query jobs; jobs belong to a project, the data in them to datasets.
    "bigquery.jobs.create",
    # The catalog's header x-goog-user-project names this project.
    "serviceusage.services.use",
  ]
}

resource "google_service_account" "this" {
  for_each     = var.roles
  project      = var.project
  account_id   = "${var.name}-${each.key}"
  display_name = "${var.name} ${each.key}"
  description  = local.described[each.key]
}

resource "google_project_iam_custom_role" "runner" {
  project     = var.project
  role_id     = "${replace(var.name, "-", "_")}_runner"
  title       = "${var.name} runner"
  description = "A machine of Managed Service for Apache Spark that runs polyexpose; no access to data"
  permissions = local.runner_permissions
}

resource "google_project_iam_member" "runner" {
  project = var.project
  role    = google_project_iam_custom_role.runner.name
  member  = google_service_account.this["runner"].member
}

# The catalog's metadata: tables, snapshots, tags, views. The bytes are in the bucket, and granted there.
resource "google_project_iam_member" "runner_catalog" {
  project = var.project
  role    = "roles/biglake.editor"
  member  = google_service_account.this["runner"].member
}

resource "google_project_iam_custom_role" "scheduler" {
  count       = contains(var.roles, "scheduler") ? 1 : 0
  project     = var.project
  role_id     = "${replace(var.name, "-", "_")}_scheduler"
  title       = "${var.name} scheduler"
  description = "Starts a workflow template"
  permissions = ["dataproc.workflowTemplates.instantiate"]
}

resource "google_project_iam_member" "scheduler" {
  count   = contains(var.roles, "scheduler") ? 1 : 0
  project = var.project
  role    = google_project_iam_custom_role.scheduler[0].name
  member  = google_service_account.this["scheduler"].member
}

# The machines it starts run as the runner.
resource "google_service_account_iam_member" "scheduler_starts_runner" {
  count              = contains(var.roles, "scheduler") ? 1 : 0
  service_account_id = google_service_account.this["runner"].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.this["scheduler"].member
}

resource "google_project_iam_custom_role" "hasura_reader" {
  count       = contains(var.roles, "hasura-reader") ? 1 : 0
  project     = var.project
  role_id     = "${replace(var.name, "-", "_")}_hasura_reader"
  title       = "${var.name} Hasura reader"
  description = "Runs queries; what they may read is granted on the dataset"
  permissions = ["bigquery.jobs.create", "bigquery.jobs.get"]
}

resource "google_project_iam_member" "hasura_reader" {
  count   = contains(var.roles, "hasura-reader") ? 1 : 0
  project = var.project
  role    = google_project_iam_custom_role.hasura_reader[0].name
  member  = google_service_account.this["hasura-reader"].member
}

# Who reads by Spark or another Iceberg engine; the bytes are granted on the bucket.
resource "google_project_iam_member" "analysts_catalog" {
  for_each = var.analysts == null ? toset([]) : toset(["roles/biglake.viewer", "roles/serviceusage.serviceUsageConsumer"])
  project  = var.project
  role     = each.key
  member   = "group:${var.analysts}"
}
