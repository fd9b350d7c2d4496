mock_provider "google" {
  source = "../../mocks"
}

variables {
  project        = "acme-data-prod"
  region         = "europe-west1"
  runner         = "runner@acme-data-prod.iam.gserviceaccount.com"
  code_bucket    = "acme-code"
  staging_bucket = "acme-staging"
  environment    = "state: {location: gs://acme-state/polyexpose}"
  subnet         = "projects/acme-data-prod/regions/europe-west1/subnetworks/polyexpose"
  tags           = ["polyexpose-cluster"]
}

run "it_runs_the_steps_of_infra_dataproc" {
  assert {
    condition     = [for job in google_dataproc_workflow_template.this.jobs : job.step_id] == [for job in local.template.jobs : job.stepId]
    error_message = "other steps than the template in infra/dataproc"
  }
  assert {
    condition = alltrue([
      for job in google_dataproc_workflow_template.this.jobs :
      job.pyspark_job[0].main_python_file_uri == "gs://acme-code/polyexpose/main.py" &&
      tolist(job.pyspark_job[0].python_file_uris) == tolist(["gs://acme-code/polyexpose/polyexpose_spark.zip"])
    ])
    error_message = "a step does not submit what was built"
  }
  assert {
    condition = alltrue([
      for job in google_dataproc_workflow_template.this.jobs :
      slice(tolist(job.pyspark_job[0].args), length(job.pyspark_job[0].args) - 2, length(job.pyspark_job[0].args)) == tolist(["--conf", "environment.yaml"]) &&
      contains(job.pyspark_job[0].file_uris, "gs://acme-code/polyexpose/environment.yaml")
    ])
    error_message = "a step does not know its environment"
  }
}

run "a_parameter_replaces_the_argument_that_bears_its_name" {
  assert {
    condition = alltrue(flatten([
      for parameter in google_dataproc_workflow_template.this.parameters : [
        for field in parameter.fields :
        one([
          for job in google_dataproc_workflow_template.this.jobs : job.pyspark_job[0].args[tonumber(regex("args\\[([0-9]+)\\]$", field)[0])]
          if job.step_id == regex("^jobs\\['([^']+)'\\]", field)[0]
        ]) == parameter.name
      ]
    ]))
    error_message = "a parameter points at another argument"
  }
  assert {
    condition     = contains(output.parameters, "PRODUCT") && length(google_dataproc_workflow_template.this.parameters) == length(output.parameters)
    error_message = "parameters are missing"
  }
}

run "machines_are_private_and_run_as_the_runner" {
  assert {
    condition = alltrue([
      for each in google_dataproc_workflow_template.this.placement[0].managed_cluster[0].config[0].gce_cluster_config :
      each.internal_ip_only && each.service_account == var.runner && tolist(each.tags) == tolist(["polyexpose-cluster"])
    ])
    error_message = "machines with public addresses, or that run as somebody else"
  }
  assert {
    condition     = google_dataproc_workflow_template.this.placement[0].managed_cluster[0].config[0].software_config[0].properties["dataproc:dataproc.logging.stackdriver.job.driver.enable"] == "true"
    error_message = "alerts would never see what a run says"
  }
}

run "image_2_3" {
  assert {
    condition = (
      google_dataproc_workflow_template.this.placement[0].managed_cluster[0].config[0].software_config[0].image_version == "2.3-debian12" &&
      strcontains(google_dataproc_workflow_template.this.placement[0].managed_cluster[0].config[0].software_config[0].properties["spark:spark.jars.packages"], "iceberg-spark-runtime-3.5_2.12:1.10.")
    )
    error_message = "image 2.3 is Spark 3.5 on Java 11: Iceberg 1.10 is its last"
  }
}

run "image_3_0" {
  variables {
    image = "3.0"
  }
  assert {
    condition = (
      startswith(google_dataproc_workflow_template.this.placement[0].managed_cluster[0].config[0].software_config[0].image_version, "3.0-") &&
      strcontains(google_dataproc_workflow_template.this.placement[0].managed_cluster[0].config[0].software_config[0].properties["spark:spark.jars.packages"], "iceberg-spark-runtime-4.1_2.13:")
    )
    error_message = "image 3.0 is Spark 4.1 with Scala 2.13"
  }
  assert {
    condition     = google_dataproc_workflow_template.this.placement[0].managed_cluster[0].config[0].software_config[0].properties["dataproc:pip.packages"] == local.software.properties["dataproc:pip.packages"]
    error_message = "the driver lacks its packages"
  }
}

run "a_key_encrypts_disks_and_arguments" {
  variables {
    kms_key = "projects/acme-keys/locations/europe-west1/keyRings/data/cryptoKeys/polyexpose"
  }
  assert {
    condition = (
      google_dataproc_workflow_template.this.encryption_config[0].kms_key == var.kms_key &&
      google_dataproc_workflow_template.this.placement[0].managed_cluster[0].config[0].encryption_config[0].gce_pd_kms_key_name == var.kms_key
    )
    error_message = "something of a run is not encrypted with the key"
  }
}

run "an_image_out_of_support_is_refused" {
  command = plan
  variables {
    image = "2.2"
  }
  expect_failures = [var.image]
}

run "an_environment_that_is_no_yaml_is_refused" {
  command = plan
  variables {
    environment = "gs://acme-code/environment.yaml"
  }
  expect_failures = [var.environment]
}

run "two_days_are_too_long" {
  command = plan
  variables {
    timeout_hours = 48
  }
  expect_failures = [var.timeout_hours]
}
