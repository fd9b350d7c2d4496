"""The main job: hand this file to spark-submit, Dataproc or python."""

from polyexpose_spark.cli import main

raise SystemExit(main())
