"""What every Files client must keep; a new client is one more entry of PLACES."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polyexpose_spark.clients import ABSENT, Changed, Files, StoredFile
from polyexpose_spark.clients.files import LocalFiles
from polyexpose_spark.errors import TargetFailed
from tests.contract.stored import crc32c, gcs_files
from tests.servers import BUCKET
from tests.small_disk import small_disk

# Implementation -> the client and an empty place of its own, given a folder of the test and the address of a server.
PLACES: dict[str, Callable[[Path, str], tuple[Files, str]]] = {
    "local": lambda folder, _: (LocalFiles(), str(folder / "place")),
    "local by url": lambda folder, _: (LocalFiles(), f"file://{folder / 'place'}"),
    "gcs": lambda _, address: (gcs_files(address), f"gs://{BUCKET}/{uuid.uuid4().hex}/place"),
}


@pytest.fixture(params=list(PLACES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Files, str]:
    address = request.getfixturevalue("gcs") if request.param == "gcs" else ""
    return PLACES[request.param](tmp_path, address)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    with small_disk(tmp_path / "disk", 1) as folder:
        yield folder


def names(files: Files, prefix: str) -> list[str]:
    return [each.path.rpartition("/")[2] for each in files.list(prefix)]


def test_what_is_put_is_read(place: tuple[Files, str]) -> None:
    files, root = place
    generation = files.put(f"{root}/a/b.json", b"one")
    assert files.read(f"{root}/a/b.json") == (b"one", generation)
    assert files.put(f"{root}/a/b.json", b"two") != generation
    with files.open(f"{root}/a/b.json") as stream:
        assert stream.read() == b"two"


def test_what_is_not_there(place: tuple[Files, str]) -> None:
    files, root = place
    assert files.read(f"{root}/none") is None
    assert files.list(f"{root}/none/") == ()
    files.delete([f"{root}/none", f"{root}/none/"])
    with pytest.raises(TargetFailed, match="none"), files.open(f"{root}/none"):
        pass


def test_a_put_with_a_generation_is_refused_where_there_is_another(place: tuple[Files, str]) -> None:
    files, root = place
    path = f"{root}/pointer"
    first = files.put(path, b"1", if_generation=ABSENT)
    with pytest.raises(Changed):
        files.put(path, b"2", if_generation=ABSENT)
    second = files.put(path, b"2", if_generation=first)
    with pytest.raises(Changed):
        files.put(path, b"3", if_generation=first)
    assert files.read(path) == (b"2", second)


def test_of_many_conditional_puts_at_once_one_wins(place: tuple[Files, str]) -> None:
    files, root = place
    won: list[int] = []

    def put(number: int) -> None:
        try:
            files.put(f"{root}/deep/er/claim", str(number).encode(), if_generation=ABSENT)
            won.append(number)
        except Changed:
            pass

    threads = [threading.Thread(target=put, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    found = files.read(f"{root}/deep/er/claim")
    assert found is not None
    assert found[0] == str(won[0]).encode()


def test_two_writers_that_count_lose_nothing(place: tuple[Files, str]) -> None:
    files, root = place
    path = f"{root}/count"
    files.put(path, b"0")
    refused: list[int] = []

    def count(number: int) -> None:
        for _ in range(25):
            while True:
                found = files.read(path)
                assert found is not None
                try:
                    files.put(path, str(int(found[0]) + 1).encode(), if_generation=found[1])
                    break
                except Changed:
                    refused.append(number)

    threads = [threading.Thread(target=count, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = files.read(path)
    assert found is not None
    assert found[0] == b"50"
    assert refused, "they never met: this test has shown nothing"


def test_list_is_sorted_deep_and_knows_sizes(place: tuple[Files, str]) -> None:
    files, root = place
    for path in ("b", "a/z", "a/b/c", "ab"):
        files.put(f"{root}/{path}", path.encode())
    found = files.list(f"{root}/")
    assert [each.size for each in found] == [5, 3, 2, 1]
    assert [each.path.rpartition("/place/")[2] for each in found] == ["a/b/c", "a/z", "ab", "b"]
    assert names(files, f"{root}/a/") == ["c", "z"]
    assert all(isinstance(each, StoredFile) for each in found)


def test_move_replaces_and_makes_folders(place: tuple[Files, str]) -> None:
    files, root = place
    files.put(f"{root}/from/x", b"new")
    files.put(f"{root}/to/y", b"old")
    files.move(f"{root}/from/x", f"{root}/to/y")
    assert files.read(f"{root}/from/x") is None
    found = files.read(f"{root}/to/y")
    assert found is not None
    assert found[0] == b"new"
    with pytest.raises(TargetFailed):
        files.move(f"{root}/none", f"{root}/to/y")


def test_compose_keeps_the_order_the_parts_and_tells_size_and_hash(place: tuple[Files, str]) -> None:
    files, root = place
    parts = {f"{root}/p{number}": os.urandom(number * 700_001) for number in (3, 0, 1, 12)}
    for path, data in parts.items():
        files.put(path, data)
    whole = b"".join(parts.values())
    made = files.compose(list(parts), f"{root}/deep/whole")
    assert made.size == len(whole)
    assert made.hash in (f"sha256:{hashlib.sha256(whole).hexdigest()}", f"crc32c:{crc32c(whole)}")
    with files.open(f"{root}/deep/whole") as stream:
        assert stream.read() == whole
    assert len(files.list(f"{root}/")) == 5
    with pytest.raises(TargetFailed, match="none"):
        files.compose([f"{root}/p3", f"{root}/none"], f"{root}/deep/other")
    assert names(files, f"{root}/deep/") == ["whole"]


def test_delete_of_files_and_of_everything_below_a_folder(place: tuple[Files, str]) -> None:
    files, root = place
    for path in ("a/1", "a/b/2", "a/b/3", "ab/4"):
        files.put(f"{root}/{path}", b"")
    files.delete([f"{root}/a/b/2"])
    assert names(files, f"{root}/") == ["1", "3", "4"]
    files.delete([f"{root}/a/"])
    assert names(files, f"{root}/") == ["4"]


class TestLocalFiles:
    """What only a file system can show."""

    def test_folders_left_empty_go_and_others_stay(self, tmp_path: Path) -> None:
        files = LocalFiles()
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "readme").touch()
        files.put(f"{tmp_path}/mine/a/b/c", b"")
        files.delete([f"{tmp_path}/mine/a/b/c"])
        assert sorted(os.listdir(tmp_path / "mine")) == ["readme"]

    def test_what_a_killed_put_left_is_not_listed_and_goes_with_the_next_one(self, tmp_path: Path) -> None:
        # A process that stops for good in the middle of a put: the file is written, the rename is not reached.
        script = (
            "import os, signal, sys; from polyexpose_spark.clients.files import LocalFiles\n"
            "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
            "LocalFiles().put(sys.argv[1], b'half')"
        )
        path = tmp_path / "folder" / "pointer.json"
        done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
        assert done.returncode == -signal.SIGKILL
        [left] = os.listdir(path.parent)
        assert left != path.name
        files = LocalFiles()
        assert files.list(f"{tmp_path}/") == ()
        assert files.read(str(path)) is None
        files.put(f"{path.parent}/another", b"")
        assert os.listdir(path.parent) == ["another"]
        shutil.copy(path.parent / "another", path.parent / left)
        files.delete([f"{path.parent}/another"])
        assert not path.parent.exists()

    def test_a_reader_sees_the_old_or_the_new_content(self, tmp_path: Path) -> None:
        files, path, size = LocalFiles(), f"{tmp_path}/pointer", 300_000
        files.put(path, b"0" * size)
        writer = multiprocessing.get_context("spawn").Process(target=_put_in_turn, args=(path, size, 300))
        writer.start()
        reads = 0
        while writer.is_alive():
            found = files.read(path)
            assert found is not None
            assert len(found[0]) == size
            assert len(set(found[0])) == 1
            reads += 1
        writer.join()
        assert writer.exitcode == 0
        assert reads > 10

    def test_puts_into_a_folder_that_another_removes_all_the_time(self, tmp_path: Path) -> None:
        files, stop = LocalFiles(), time.monotonic() + 1.5
        failed: list[BaseException] = []

        def churn(name: str) -> None:
            try:
                while time.monotonic() < stop:
                    files.put(f"{tmp_path}/x/y/{name}", b"")
                    files.delete([f"{tmp_path}/x/y/{name}"])
            except BaseException as error:  # noqa: BLE001 - told by the assertion
                failed.append(error)

        threads = [threading.Thread(target=churn, args=(str(number),)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []

    def test_a_file_in_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(TargetFailed, match=r"file/x could not be written: (Not a directory|File exists)"):
            LocalFiles().put(f"{tmp_path}/file/x", b"")
        assert LocalFiles().read(f"{tmp_path}/file/x") is None

    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
    def test_a_folder_that_cannot_be_made(self) -> None:
        with pytest.raises(TargetFailed, match="/proc/none/pointer could not be written: No such file or directory"):
            LocalFiles().put("/proc/none/pointer", b"")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without rights")
    def test_no_right_to_write(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o755)
        script = (
            "import os, sys; from polyexpose_spark.clients.files import LocalFiles\n"
            "from polyexpose_spark.errors import TargetFailed\n"
            "os.setuid(65534)\n"
            "try: LocalFiles().put(sys.argv[1], b'')\n"
            "except TargetFailed as error: print(error)"
        )
        folder = Path("/usr")  # everybody may look into it, only root may write
        done = subprocess.run(
            [sys.executable, "-c", script, f"{folder}/pointer"], check=True, capture_output=True, text=True
        )
        assert done.stdout == (
            f"{folder}/pointer could not be written: user id 65534 has no right to (Permission denied)\n"
        )

    def test_a_full_disk(self, tmp_path: Path, disk: Path) -> None:
        files = LocalFiles()
        files.put(f"{disk}/pointer", b"old")
        with pytest.raises(TargetFailed, match=r"disk full: .*/pointer could not be written"):
            files.put(f"{disk}/pointer", bytes(4 << 20))
        found = files.read(f"{disk}/pointer")
        assert found is not None
        assert found[0] == b"old"
        (tmp_path / "big").write_bytes(bytes(4 << 20))
        with pytest.raises(TargetFailed, match="disk full"):
            files.compose([f"{tmp_path}/big"], f"{disk}/big")
        assert os.listdir(disk) == ["pointer"]


def _put_in_turn(path: str, size: int, times: int) -> None:
    for number in range(times):
        LocalFiles().put(path, str(number % 10).encode() * size)
