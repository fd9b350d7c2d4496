"""Print the commands of README.md, made of the requests beside this file, or the packages that a cluster installs.

python infra/dataproc/gcloud.py [--pip-packages]
"""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
PROJECT = HERE.parents[1] / "pyproject.toml"
EXTRAS = ("gcs", "gql", "kafka", "pubsub", "pubsublite", "secrets")
"""What a run on Google Cloud may need; requirements.txt is resolved for the same."""


def commands() -> str:
    """Return the commands, each below the first line of its request's file."""
    kinds: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
        "cluster-*.yaml": cluster,
        "job-*.yaml": job,
        "batch-*.yaml": batch,
    }
    blocks = [_block(HERE / "workflow-template.yaml", _workflow())]
    for pattern, made in kinds.items():
        for path in sorted(HERE.glob(pattern)):
            blocks.append(_block(path, made(yaml.safe_load(path.read_text(encoding="utf-8")))))
    return "\n\n".join(blocks)


def pip_packages() -> str:
    """Return what the package and its extras name, each as requirements.txt has it; what those need is pip's choice.

    Not the whole lock: an image has its own versions of the rest, which fit the image's other packages.
    """
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    named = [*project["dependencies"], *(each for extra in EXTRAS for each in project["optional-dependencies"][extra])]
    locked = dict(
        re.findall(r"^([\w.-]+)==(\S+)", (HERE / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    )
    names = dict.fromkeys(re.split(r"[^\w.-]", each, maxsplit=1)[0] for each in named)
    # pyiceberg's extra; the executors need it too.
    return ",".join(f"{name}=={locked[name]}" for name in [*names, "pyarrow"])


def cluster(request: Mapping[str, Any]) -> list[str]:
    """Return the command that makes a cluster, a line a flag."""
    config = request["config"]
    software, machines = config["softwareConfig"], config["gceClusterConfig"]
    return [
        f"gcloud dataproc clusters create {request['clusterName']}",
        "--region=REGION",
        f"--image-version={software['imageVersion']}",
        f"--subnet={machines['subnetworkUri']}",
        *(["--no-address"] if machines["internalIpOnly"] else []),
        f"--service-account={machines['serviceAccount']}",
        f"--scopes={','.join(machines['serviceAccountScopes'])}",
        f"--delete-max-idle={config['lifecycleConfig']['idleDeleteTtl']}",
        _mapping("properties", software["properties"]),
    ]


def job(request: Mapping[str, Any]) -> list[str]:
    """Return the command that submits a job to a cluster."""
    work = request["pysparkJob"]
    return [
        f"gcloud dataproc jobs submit pyspark {work['mainPythonFileUri']}",
        f"--cluster={request['placement']['clusterName']}",
        "--region=REGION",
        *_files(work),
        _mapping("properties", work["properties"]),
        _mapping("labels", request["labels"]),
        _arguments(work),
    ]


def batch(request: Mapping[str, Any]) -> list[str]:
    """Return the command that submits a serverless batch."""
    work, runtime = request["pysparkBatch"], request["runtimeConfig"]
    execution = request["environmentConfig"]["executionConfig"]
    return [
        f"gcloud dataproc batches submit pyspark {work['mainPythonFileUri']}",
        "--region=REGION",
        f"--version={runtime['version']}",
        f"--container-image={runtime['containerImage']}",
        f"--subnet={execution['subnetworkUri']}",
        f"--service-account={execution['serviceAccount']}",
        f"--user-workload-authentication-type={execution['authenticationConfig']['userWorkloadAuthenticationType']}",
        *_files(work),
        _mapping("properties", runtime["properties"]),
        _mapping("labels", request["labels"]),
        _arguments(work),
    ]


def _workflow() -> list[str]:
    request = yaml.safe_load((HERE / "workflow-template.yaml").read_text(encoding="utf-8"))
    values = {"PRODUCT": "gs://my-bucket/products", "PROFILE": "gcp", "SNAPSHOT": "main"}
    parameters = ",".join(f"{each['name']}={values[each['name']]}" for each in request["parameters"])
    return [
        "sed 's/BUCKET/my-bucket/g' infra/dataproc/workflow-template.yaml |\n"
        "  gcloud dataproc workflow-templates import polyexpose --region=REGION --source=/dev/stdin\n"
        "gcloud dataproc workflow-templates instantiate polyexpose",
        "--region=REGION",
        f"--parameters={parameters}",
    ]


def _block(path: Path, lines: Iterable[str]) -> str:
    title = path.read_text(encoding="utf-8").partition("\n")[0]
    return "\n".join([title, " \\\n  ".join(lines)])


def _files(work: Mapping[str, Any]) -> list[str]:
    return [f"--py-files={','.join(work['pythonFileUris'])}", f"--files={','.join(work['fileUris'])}"]


def _mapping(flag: str, values: Mapping[str, str]) -> str:
    pairs = [f"{key}={value}" for key, value in values.items()]
    # Where a value has commas, gcloud takes another separator that stands in front (gcloud topic escaping).
    text = ",".join(pairs) if not any("," in pair for pair in pairs) else f"^;^{';'.join(pairs)}"
    return f"--{flag}={shlex.quote(text)}"


def _arguments(work: Mapping[str, Any]) -> str:
    return f"-- {shlex.join(work['args'])}"


if __name__ == "__main__":
    print(pip_packages() if sys.argv[1:] == ["--pip-packages"] else commands())
