"""The files of a load job: objects of Cloud Storage, by name or with one ``*``, read into local files."""

from __future__ import annotations

import json
import os
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polyexpose_spark.local.bigquery.errors import ApiError, invalid, not_found, not_implemented

EMULATOR = "STORAGE_EMULATOR_HOST"  # as in Google's own clients
SECONDS = 60


def fetch(uris: list[str], folder: Path) -> list[Path]:
    """Copy the objects that the ``gs://`` addresses name into `folder`; return the files.

    Raises ApiError 404 for an address without an object.
    """
    files: list[Path] = []
    for uri in uris:
        for bucket, name in _objects(uri):
            target = folder / f"{len(files):06d}"
            path = f"/storage/v1/b/{bucket}/o/{urllib.parse.quote(name, safe='')}?alt=media"
            with _open(path, uri) as answer, target.open("wb") as out:
                shutil.copyfileobj(answer, out, 1 << 20)
            files.append(target)
    return files


def _objects(uri: str) -> Iterator[tuple[str, str]]:
    if not uri.startswith("gs://") or "/" not in uri[5:]:
        raise invalid(f"Source URI must be a Google Cloud Storage location: {uri}")
    bucket, name = uri[5:].split("/", 1)
    if name.count("*") > 1 or "*" in bucket:
        raise invalid(f"A source URI takes one * in the object name: {uri}")
    pattern = re.compile(".*".join(re.escape(part) for part in name.split("*")), re.DOTALL)
    found = False
    token = ""
    while True:
        query = urllib.parse.urlencode({"prefix": name.split("*")[0], **({"pageToken": token} if token else {})})
        with _open(f"/storage/v1/b/{bucket}/o?{query}", uri) as answer:
            listing = json.load(answer)
        for item in listing.get("items", []):
            if pattern.fullmatch(item["name"]):
                found = True
                yield bucket, item["name"]
        token = listing.get("nextPageToken", "")
        if not token:
            break
    if not found:
        raise not_found("URI", uri)


def _open(path: str, uri: str) -> Any:
    host = os.environ.get(EMULATOR, "").rstrip("/")
    if not host:
        raise not_implemented(f"Loading {uri}: Cloud Storage is read through {EMULATOR} only, which is not set; it")
    url = f"{host if '://' in host else 'http://' + host}{path}"
    try:
        return urllib.request.urlopen(url, timeout=SECONDS)  # noqa: S310 (the operator's own address)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise not_found("URI", uri) from error
        raise ApiError(503, "backendError", f"Reading {uri}: HTTP {error.code}") from error
    except OSError as error:
        raise ApiError(503, "backendError", f"Reading {uri}: {error}") from error
