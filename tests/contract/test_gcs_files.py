"""What only Cloud Storage has: requests that fail, limits, generations, placeholders of folders; contracts in it."""

from __future__ import annotations

import gzip
import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from polyexpose_spark import product
from polyexpose_spark.clients import ABSENT, Changed, Clients, Composed
from polyexpose_spark.clients.gcs import GcsFiles
from polyexpose_spark.config import Config, GcsConfig
from polyexpose_spark.errors import ConfigError, TargetFailed, TargetUnavailable
from polyexpose_spark.ports import csv_parts
from polyexpose_spark.ports.csv_parts import Part, Piece, Sealing, Storage
from polyexpose_spark.workspace import settings_models
from tests import servers
from tests.contract.stored import crc32c, gcs_files
from tests.e2e.conftest import CONTRACT
from tests.http_faults import Fault, Proxy, proxy
from tests.servers import BUCKET


@pytest.fixture
def faulty(gcs: str) -> Iterator[Proxy]:
    with proxy(gcs) as between:
        yield between


@pytest.fixture
def at(faulty: Proxy) -> tuple[GcsFiles, str]:
    return gcs_files(faulty.address, 4.0), f"gs://{BUCKET}/{uuid.uuid4().hex}"


def test_more_parts_than_one_request_takes(at: tuple[GcsFiles, str], faulty: Proxy) -> None:
    files, root = at
    parts = [f"{root}/parts/{number}" for number in range(70)]
    for number, path in enumerate(parts):
        files.put(path, f"{number},".encode() * 9)
    whole = b"".join(f"{number},".encode() * 9 for number in range(70))
    made = files.compose(parts, f"{root}/whole.csv")
    assert made == Composed(len(whole), f"crc32c:{crc32c(whole)}")
    found = files.read(f"{root}/whole.csv")
    assert found is not None
    assert found[0] == whole
    assert len(files.list(f"{root}/")) == 71
    faulty.faults = [Fault("POST", "whole.csv/compose", status=403)]
    with pytest.raises(TargetFailed, match=r"whole\.csv could not be written"):
        files.compose(parts, f"{root}/whole.csv")
    assert faulty.faults[0].times == 0
    assert len(files.list(f"{root}/")) == 71


def test_a_large_object(at: tuple[GcsFiles, str]) -> None:
    files, root = at
    data = os.urandom((17 << 20) + 3)
    generation = files.put(f"{root}/large", data)
    assert files.read(f"{root}/large") == (data, generation)
    with files.open(f"{root}/large") as stream:
        begin = stream.read(10)
        assert begin + stream.read() == data


def test_a_conditional_put_whose_answer_was_lost_is_its_own(at: tuple[GcsFiles, str], faulty: Proxy) -> None:
    files, root = at
    faulty.faults = [Fault("POST", "upload", reset="after")]
    generation = files.put(f"{root}/pointer", b"1", if_generation=ABSENT)
    assert files.read(f"{root}/pointer") == (b"1", generation)
    faulty.faults = [Fault("POST", "upload", reset="after")]
    second = files.put(f"{root}/pointer", b"2", if_generation=generation)
    assert files.read(f"{root}/pointer") == (b"2", second)
    # And what somebody else wrote is not.
    faulty.faults = [Fault("POST", "upload", reset="after")]
    with pytest.raises(Changed):
        files.put(f"{root}/pointer", b"2", if_generation=generation)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_tried_again(at: tuple[GcsFiles, str], faulty: Proxy, status: int) -> None:
    files, root = at
    for method, path, call in (
        ("POST", "upload", lambda: files.put(f"{root}/a/x", b"1")),
        ("GET", "download", lambda: files.read(f"{root}/a/x")),
        ("GET", "prefix", lambda: files.list(f"{root}/a/")),
        ("POST", "rewriteTo", lambda: files.move(f"{root}/a/x", f"{root}/b/x")),
        ("POST", "compose", lambda: files.compose([f"{root}/b/x"], f"{root}/b/y")),
        ("DELETE", "", lambda: files.delete([f"{root}/b/"])),
    ):
        faulty.faults = [Fault(method, path, status=status, times=2), Fault(method, path, reset="before")]
        call()
        assert [each.times for each in faulty.faults] == [0, 0]
    assert files.list(f"{root}/") == ()


def test_a_refusal_is_one_line_that_names_the_object_and_the_reason(at: tuple[GcsFiles, str], faulty: Proxy) -> None:
    files, root = at
    files.put(f"{root}/x", b"1")
    reason = "reader@p.iam.gserviceaccount.com does not have storage.objects.get access"
    for call, done in (
        (lambda: files.read(f"{root}/x"), f"{root}/x could not be read"),
        (lambda: files.open(f"{root}/x"), f"{root}/x could not be read"),
        (lambda: files.put(f"{root}/x", b""), f"{root}/x could not be written"),
        (lambda: files.put(f"{root}/x", bytes(9 << 20)), f"{root}/x could not be written"),
        (lambda: files.list(f"{root}/"), f"{root}/ could not be listed"),
        (lambda: files.delete([f"{root}/x"]), f"{root}/x could not be deleted"),
        (lambda: files.move(f"{root}/x", f"{root}/y"), f"{root}/y could not be written"),
    ):
        faulty.faults = [Fault(status=403, reason=reason)]
        with pytest.raises(TargetFailed) as caught:
            call()
        told = f"Cloud Storage at {faulty.address}: {done}: {reason} happened (HTTP 403)"
        assert str(caught.value) == told


def test_a_bucket_that_is_not_there(at: tuple[GcsFiles, str]) -> None:
    files, _ = at
    assert files.read("gs://no-such-bucket/x") is None
    for call in (
        lambda: files.put("gs://no-such-bucket/x", b"1"),
        lambda: files.list("gs://no-such-bucket/x/"),
        lambda: files.compose(["gs://no-such-bucket/x"], "gs://no-such-bucket/y"),
    ):
        with pytest.raises(TargetFailed, match=r"gs://no-such-bucket/x/? could not be [^\n]*$"):
            call()


def test_no_right_on_the_bucket_itself_is_needed(at: tuple[GcsFiles, str], faulty: Proxy) -> None:
    files, root = at
    files.put(f"{root}/x", b"1")
    files.read(f"{root}/x")
    time.sleep(0.2)  # the library asks in a thread of its own
    assert [method for method, _ in faulty.seen] == ["POST", "GET"]


def test_nobody_answers() -> None:
    began = time.monotonic()
    files = gcs_files(f"http://127.0.0.1:{servers.free_port()}", 1.0)
    with pytest.raises(TargetUnavailable, match=f"gs://{BUCKET}/x could not be read: nobody answers"):
        files.read(f"gs://{BUCKET}/x")
    assert time.monotonic() - began < 5


def test_an_answer_that_does_not_come(at: tuple[GcsFiles, str], faulty: Proxy) -> None:
    files = gcs_files(faulty.address, 1.0)
    faulty.faults = [Fault("GET", seconds=3.0, times=9)]
    began = time.monotonic()
    with pytest.raises(TargetUnavailable, match="no answer in time"):
        files.read(f"{at[1]}/x")
    assert time.monotonic() - began < 5


def test_content_that_was_damaged_on_the_way_is_not_handed_out(at: tuple[GcsFiles, str], faulty: Proxy) -> None:
    files, root = at
    files.put(f"{root}/x", b"1234")
    for call in (lambda: files.read(f"{root}/x"), lambda: files.open(f"{root}/x").read()):
        faulty.faults = [Fault("GET", "alt=media", change=lambda number: number + 1)]
        with pytest.raises(TargetUnavailable, match=r"/x: what arrived is not what was sent \(crc32c\)"):
            call()
        call()


def test_a_stream_is_of_one_generation(at: tuple[GcsFiles, str]) -> None:
    files, root = at
    files.put(f"{root}/x", b"old")
    with files.open(f"{root}/x") as stream:
        files.put(f"{root}/x", b"new, and longer")
        with pytest.raises(TargetUnavailable, match="/x was replaced while it was read"):
            stream.read()


def test_placeholders_of_folders_are_no_objects_and_go_with_the_last_one(at: tuple[GcsFiles, str]) -> None:
    files, root = at
    for path in ("", "a/", "a/b/", "a/c/"):
        files.put(f"{root}/{path}", b"")
    files.put(f"{root}/a/b/x", b"")
    files.put(f"{root}/a/c/x", b"")
    assert [each.path for each in files.list(f"{root}/a/")] == [f"{root}/a/b/x", f"{root}/a/c/x"]
    files.delete([f"{root}/a/b/x"])
    assert left(files, root) == ["", "a/", "a/c/", "a/c/x"]
    files.delete([f"{root}/a/c/"])
    assert left(files, root) == []


def left(files: GcsFiles, root: str) -> list[str]:
    prefix = root.removeprefix(f"gs://{BUCKET}/") + "/"
    return sorted(each.name.removeprefix(prefix) for each in files._client.list_blobs(BUCKET, prefix=prefix))


def test_names_that_are_no_addresses(at: tuple[GcsFiles, str]) -> None:
    files, root = at
    path = f"{root}/date=2024-01-01 00%3A00/ü #?*.csv"
    files.put(path, b"1")
    files.move(path, f"{path}.moved")
    files.compose([f"{path}.moved"], path)
    assert [each.path for each in files.list(f"{root}/")] == [path, f"{path}.moved"]
    found = files.read(path)
    assert found is not None
    assert found[0] == b"1"


def test_credentials_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(ConfigError, match=r"application default credentials: .*none\.json"):
        GcsFiles(GcsConfig()).read(f"gs://{BUCKET}/x")


class TestContracts:
    """Contracts at gs:// addresses."""

    @pytest.fixture
    def clients(self, gcs: str, tmp_path: Path) -> Clients:
        given = {"catalog": {"type": "hadoop", "warehouse": str(tmp_path)}}
        return Clients(
            Config.model_validate(given | {"gcs": {"endpoint": gcs, "credentials": "anonymous"}}), pytest.fail
        )

    def load(self, clients: Clients, *paths: str) -> list[tuple[str, str]]:
        found = product.load(paths, settings_models(), None, clients.files)
        return [(each.id, each.path) for each in found]

    def test_a_file_and_a_folder(self, clients: Clients) -> None:
        root = f"gs://{BUCKET}/{uuid.uuid4().hex}"
        files = clients.files(root)
        for name in ("a.odcs.yaml", "b.odcs.yaml", "below/c.odcs.yaml", "notes.yaml", ""):
            text = CONTRACT.replace("id: orders", f"id: {name[:1]}") if name.endswith(".odcs.yaml") else ""
            files.put(f"{root}/{name}", text.encode())
        assert self.load(clients, f"{root}/b.odcs.yaml") == [("b", f"{root}/b.odcs.yaml")]
        both = [("a", f"{root}/a.odcs.yaml"), ("b", f"{root}/b.odcs.yaml")]
        assert self.load(clients, root) == both
        assert self.load(clients, f"{root}/") == both

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("gs://bucket/none.yaml", "gs://bucket/none.yaml: cannot be read: there is no such object"),
            ("gs://bucket/none", "--product: gs://bucket/none: no *.odcs.yaml file in this folder"),
            ("s3://b/x.yaml", "--product: s3://b/x.yaml: s3:// is not served; local paths and gs:// addresses are"),
            ("abfs://b/x", "--product: abfs://b/x: abfs:// is not served; local paths and gs:// addresses are"),
        ],
    )
    def test_what_cannot_be_read(self, clients: Clients, path: str, message: str) -> None:
        with pytest.raises(ConfigError) as caught:
            self.load(clients, path)
        assert str(caught.value) == message

    def test_problems_name_the_object_and_the_line(self, clients: Clients) -> None:
        path = f"gs://{BUCKET}/{uuid.uuid4().hex}.odcs.yaml"
        clients.files(path).put(path, CONTRACT.replace("keepSnapshots", "keep").encode())
        with pytest.raises(ConfigError, match=rf"^{path}:\d+: .*keep: unknown key; known keys: "):
            self.load(clients, path)

    def test_a_server_that_does_not_answer_is_not_the_users_fault(self, clients: Clients) -> None:
        gone = GcsConfig(endpoint=f"http://127.0.0.1:{servers.free_port()}", credentials="anonymous")
        files = GcsFiles(gone)
        with pytest.raises(TargetUnavailable, match="nobody answers"):
            product.load([f"gs://{BUCKET}/x.yaml"], settings_models(), None, lambda _: files)


class TestParts:
    """What executors do with parts at gs:// addresses."""

    ROWS = b"".join(b'%d,"x\ny"\n' % number for number in range(200_000))

    def sealed(self, files: GcsFiles, root: str, address: str, compression: str, target: int | None) -> list[Piece]:
        files.put(f"{root}/part-0", self.ROWS)
        storage = Storage(address, anonymous=True)
        sealing = Sealing(f"{root}/", compression, target, None, storage=storage)
        parts = [Part(f"{root}/part-0", len(self.ROWS))]
        assert csv_parts.counter(parts, storage)(0) == "200000"
        pieces = csv_parts.pieces(csv_parts.sealer(parts, sealing)(0))
        for piece in pieces:
            found = files.read(piece.path)
            assert found is not None
            assert (len(found[0]), hashlib.sha256(found[0]).hexdigest()) == (piece.size, piece.sha256)
        return pieces

    def content(self, files: GcsFiles, piece: Piece) -> bytes:
        with files.open(piece.path) as stream:
            return stream.read()

    def test_split_and_packed(self, at: tuple[GcsFiles, str], faulty: Proxy) -> None:
        files, root = at
        pieces = self.sealed(files, root, faulty.address, "none", 1 << 20)
        assert len(pieces) >= 2
        assert b"".join(self.content(files, each) for each in pieces) == self.ROWS
        assert sum(each.rows or 0 for each in pieces) == 200_000
        [whole] = self.sealed(files, root, faulty.address, "gzip", None)
        assert gzip.decompress(self.content(files, whole)) == self.ROWS
        [same] = self.sealed(files, root, faulty.address, "none", None)
        assert same.path == f"{root}/part-0"

    def test_what_passes_is_tried_again(self, at: tuple[GcsFiles, str], faulty: Proxy) -> None:
        files, root = at
        files.put(f"{root}/part-0", self.ROWS)
        parts = [Part(f"{root}/part-0", len(self.ROWS))]
        faulty.faults = [Fault("GET", status=503), Fault("GET", reset="before"), Fault("POST", status=503)]
        sealing = Sealing(f"{root}/", "gzip", None, None, storage=Storage(faulty.address, anonymous=True))
        [piece] = csv_parts.pieces(csv_parts.sealer(parts, sealing)(0))
        assert gzip.decompress(self.content(files, piece)) == self.ROWS
        assert [each.times for each in faulty.faults] == [0, 0, 0]

    def test_an_error_names_the_part_on_one_line(self, at: tuple[GcsFiles, str], faulty: Proxy) -> None:
        _, root = at
        parts = [Part(f"{root}/part-7", 3)]
        storage = Storage(faulty.address, anonymous=True)
        sealing = Sealing(f"{root}/", "gzip", None, None, storage=storage)
        for call in (csv_parts.counter(parts, storage), csv_parts.sealer(parts, sealing)):
            with pytest.raises(OSError, match=rf"^{root}/part-7: [^\n]*NOT_FOUND[^\n]*$"):
                call(0)
            faulty.faults = [Fault("GET", status=403, reason="no storage.objects.get access")]
            with pytest.raises(OSError, match=rf"^{root}/part-7: [^\n]*no storage.objects.get access"):
                call(0)
