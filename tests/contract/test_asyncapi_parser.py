"""AsyncAPI's own parser takes the documents of every service, and finds what is wrong in a broken one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from polyexpose_spark import logical
from polyexpose_spark.product import Column
from tests.exposed_topic import COLUMNS, KAFKA, LITE, PUBSUB, described
from tests.missing import missing

# The newest that was tried: later ones may find more.
PARSER = "@asyncapi/parser@3.6.6"

CHECK = """
const { Parser } = require("@asyncapi/parser");
const parser = new Parser();
(async () => {
  const found = [];
  for (const text of JSON.parse(require("fs").readFileSync(0, "utf8"))) {
    const { document, diagnostics } = await parser.parse(text);
    const errors = diagnostics.filter((each) => each.severity === 0);
    const said = errors.map((each) => `${each.path.join("/")}: ${each.message}`);
    found.push({ parsed: document !== undefined, errors: said });
  }
  console.log(JSON.stringify(found));
})();
"""

EVERY_TYPE = tuple(
    Column(f"column {number} of {text}", logical.parse(text), number % 2 == 0, "", 0)
    for number, text in enumerate(
        (
            "boolean", "int", "long", "float", "double", "decimal(38,10)", "date", "timestamp", "timestamptz", "string",
            "uuid", "fixed[16]", "binary", "struct<a: int, b: struct<c: long>>", "list<map<string, double>>",
            "map<date, list<binary>>",
        )
    )
)  # fmt: skip


@pytest.fixture(scope="module")
def parser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the parser in it."""
    if shutil.which("npm") is None:
        missing("AsyncAPI's parser needs npm")
    folder = tmp_path_factory.mktemp("asyncapi")
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), PARSER]
    if subprocess.run(install, check=False, timeout=300).returncode:
        missing(f"{PARSER} cannot be installed: no package registry")
    (folder / "check.js").write_text(CHECK)
    return folder


def checked(parser: Path, *documents: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the parser says of each document: {parsed, errors}."""
    texts = json.dumps([json.dumps(each) for each in documents])
    environment = {**os.environ, "NO_COLOR": "1"}
    ran = subprocess.run(
        ["node", "check.js"], cwd=parser, env=environment, input=texts, capture_output=True, text=True, check=True
    )
    found: list[dict[str, Any]] = json.loads(ran.stdout)
    return found


def test_documents_are_accepted(parser: Path) -> None:
    documents = [
        *(described(server=each) for each in (KAFKA, PUBSUB, LITE)),
        described(partitions=6, retentionHours=48, compacted=True),
        described(columns=COLUMNS[2:]),
        described(columns=(*COLUMNS, *EVERY_TYPE)),
    ]
    assert checked(parser, *documents) == [{"parsed": True, "errors": []}] * len(documents)


def test_broken_documents_are_refused(parser: Path) -> None:
    no_channel, wrong_type, wrong_binding = (described(partitions=6) for _ in range(3))
    del no_channel["channels"]
    wrong_type["components"]["schemas"]["row"]["properties"]["note"]["type"] = "text"
    wrong_binding["channels"]["changes"]["bindings"]["kafka"]["partitions"] = 0
    for found in checked(parser, no_channel, wrong_type, wrong_binding):
        assert found["errors"], found
        assert not found["parsed"]
