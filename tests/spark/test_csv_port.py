"""Port csv as an operator sees it: what lies where, in which order it changes, what is taken away again."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyexpose_spark.config import Config
from polyexpose_spark.errors import TargetFailed, TargetUnavailable
from polyexpose_spark.ports.base import Exposure, Plan
from tests.products import NoPositions
from tests.small_disk import small_disk
from tests.spark.csv_exposed import Exposed, Lake

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark

MIB = 1 << 20


@pytest.fixture
def lake(spark: SparkSession, config: Config, namespace: str, tmp_path: Path) -> Lake:
    return Lake(spark, config, namespace, tmp_path / "out")


@pytest.fixture
def numbers(lake: Lake) -> Lake:
    """A table of 100 rows."""
    lake.create("id BIGINT NOT NULL, note STRING")
    lake.insert("SELECT id, concat('n', id) FROM range(100)")
    return lake


def checked(shown: Exposed) -> int:
    """Hold the package against the files, as a careful consumer does; return the rows."""
    package, rows = shown.package, 0
    for each in package["resources"]:
        data = (shown.root / each["path"]).read_bytes()
        assert each["bytes"] == len(data)
        assert each["hash"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
        rows += each["rows"]
    assert package["polyexpose"]["rows"] == rows
    return rows


def below(folder: Path) -> list[str]:
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())


class NoRows:
    """Stands where rows must not be asked for: it would start a session."""

    table = "`lake`.`x`"

    def rows(self, split_bytes: int) -> DataFrame:
        raise AssertionError("no rows are needed")


def test_what_lies_where(numbers: Lake) -> None:
    numbers.primary_key = ("id",)
    shown = numbers.expose()
    exposure = numbers.exposure()
    snapshot = f"snapshot={exposure.snapshot.id}"
    digest = numbers.port().plan(exposure).digest
    numbers.port().collect(exposure.product, (exposure.snapshot.id,), lambda *_: None)
    assert below(numbers.folder) == [
        "datapackage.json",
        f"{snapshot}/datapackage.json",
        f"{snapshot}/t-{digest[:12]}-00000.csv",
    ]
    assert shown.package["polyexpose"] == {
        "productId": "things",
        "contractVersion": "1.0.0",
        "snapshotId": exposure.snapshot.id,
        "committedAt": shown.package["polyexpose"]["committedAt"],
        "digest": digest,
        "rows": 100,
        "dialect": shown.package["resources"][0]["dialect"],
    }
    manifest = json.loads((numbers.folder / snapshot / "datapackage.json").read_text())
    assert [each["path"] for each in manifest["resources"]] == [f"t-{digest[:12]}-00000.csv"]
    assert shown.package["resources"][0]["schema"]["primaryKey"] == ["id"]
    assert checked(shown) == 100
    assert shown.published.rows == 100
    assert shown.published.uris == (f"{numbers.folder}/datapackage.json",)
    held = numbers.port().held(exposure.product)
    assert held is not None
    assert (held.digest, held.snapshot_id, held.contract_version) == (digest, exposure.snapshot.id, "1.0.0")


def test_the_pointer_is_replaced_last(numbers: Lake) -> None:
    seen: dict[str, bool] = {}
    port, exposure = numbers.port(), numbers.exposure()
    pointer = numbers.folder / "datapackage.json"
    served, plan = numbers.served(exposure), port.plan(exposure)
    port.publish(plan, served, NoPositions(), lambda step, _: seen.update({step: pointer.exists()}))
    assert [step for step, there in seen.items() if not there][-1] == "csv.pointing"
    assert [step for step, there in seen.items() if there] == ["csv.pointed"]
    assert len(seen) == 10


def test_the_same_plan_gives_the_same_bytes(lake: Lake) -> None:
    lake.create("id BIGINT NOT NULL, note STRING")
    for first in range(0, 60, 10):  # files whose order Iceberg does not keep by itself
        lake.insert(f"SELECT id, concat('n', id, '\n') FROM range({first}, {first + 10})")
    for settings in ({}, {"compression": "gzip"}, {"compression": "zstd"}, {"singleFile": True}):
        twice = []
        for _ in range(2):
            shutil.rmtree(lake.folder, ignore_errors=True)
            lake.expose(**settings)
            twice.append(
                {name: (lake.folder / name).read_bytes() for name in below(lake.folder) if "_staging" not in name}
            )
        assert twice[0] == twice[1]
        assert len(twice[0]) >= 3


@pytest.fixture
def large(lake: Lake) -> Lake:
    """5 MiB of text in 1,000 records, each with line ends, a quote and the delimiter in a cell; three data files."""
    lake.create("id BIGINT NOT NULL, note STRING")
    note = "concat('a\"\n,', repeat(concat(id, '\n'), 1300))"
    for first, last in ((0, 400), (400, 500), (500, 1000)):
        lake.insert(f"SELECT id, {note} FROM range({first}, {last}, 1, 1)")
    return lake


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_large_parts_are_split_between_records(large: Lake, compression: str) -> None:
    import polars as pl

    shown = large.expose(targetBytesPerFile="1MiB", compression=compression)
    assert checked(shown) == 1000
    resources = shown.package["resources"]
    assert len(resources) >= 5
    assert len({each["path"] for each in resources}) == len(resources)
    frames = [pl.read_csv(each, infer_schema=False) for each in shown.files]
    assert [len(each) for each in frames] == [each["rows"] for each in resources]
    read = pl.concat(frames).sort(pl.col("id").cast(pl.Int64))
    assert read["id"].to_list() == [str(each) for each in range(1000)]
    assert read["note"].to_list() == ['a"\n,' + f"{each}\n" * 1300 for each in range(1000)]
    if compression == "none":
        assert max(each["bytes"] for each in resources) < MIB + 10_000


def test_the_split_is_even(large: Lake) -> None:
    sizes = [each["bytes"] for each in large.expose(targetBytesPerFile=MIB, header=False).package["resources"]]
    # The largest part, 500 records, has 2.5 MiB: three files of about the same size, not two and a rest.
    assert min(sizes[-3:]) > 0.9 * max(sizes[-3:])


def test_one_file_of_many_parts(large: Lake) -> None:
    parts = large.expose()
    assert len(parts.files) > 1
    assert checked(parts) == 1000
    in_parts = [each.read_bytes() for each in parts.files]
    single = large.expose(singleFile=True)
    assert checked(single) == 1000
    [path] = single.files
    assert path.name == f"t-{single.package['polyexpose']['digest'][:12]}.csv"
    assert single.published.uris == (f"{large.folder}/datapackage.json", str(path))
    header, data = b"id,note\n", single.data
    without = large.expose(singleFile=True, header=False)
    assert data == header + b"".join(each.removeprefix(header) for each in in_parts)
    assert header + without.data == data
    assert checked(without) == 1000


def test_a_header_with_a_line_end_is_counted_as_one_record(lake: Lake) -> None:
    lake.create("`a\nb` STRING, c STRING", [("x", "y"), ("x\n", "y")])
    shown = lake.expose()
    assert checked(shown) == 2
    assert shown.text == '"a\nb",c\nx,y\n"x\n",y\n'


@pytest.mark.parametrize("settings", [{}, {"compression": "gzip"}, {"compression": "zstd"}, {"singleFile": True}])
def test_no_rows(numbers: Lake, settings: dict[str, Any]) -> None:
    import polars as pl

    numbers.spark.sql(f"DELETE FROM lake.{numbers.namespace}.t")
    shown = numbers.expose(**settings)
    assert checked(shown) == 0
    [path] = shown.files
    assert pl.read_csv(path).columns == ["id", "note"]
    assert shown.published.rows == 0


def test_no_rows_and_no_header(numbers: Lake) -> None:
    numbers.spark.sql(f"DELETE FROM lake.{numbers.namespace}.t WHERE id >= 0")
    shown = numbers.expose(header=False)
    assert checked(shown) == 0
    assert shown.data == b""


def test_going_back_is_a_pointer_swap_without_spark(numbers: Lake) -> None:
    first = numbers.expose()
    old, old_id = first.package, numbers.exposure().snapshot.id
    numbers.insert("SELECT id, 'later' FROM range(100, 150)")
    assert checked(numbers.expose()) == 150
    port, exposure = numbers.port(), numbers.exposure(old_id)
    steps: list[str] = []
    published = port.publish(port.plan(exposure), NoRows(), NoPositions(), lambda step, _: steps.append(step))
    assert steps == ["csv.pointing", "csv.pointed"]
    assert Exposed(numbers.folder, published, steps).package == old
    assert published.rows == 100
    assert published.bytes_written == (numbers.folder / "datapackage.json").stat().st_size
    # Once more: nothing is left to do.
    assert port.publish(port.plan(exposure), NoRows(), NoPositions(), lambda *_: None).bytes_written == 0


def test_a_file_that_went_missing_is_written_again(numbers: Lake) -> None:
    shown = numbers.expose()
    [path] = shown.files
    before = path.read_bytes()
    path.write_bytes(before[:-1])
    assert numbers.expose().files == [path]
    assert path.read_bytes() == before


def test_another_plan_for_the_same_snapshot_leaves_the_files_of_the_first_alone(numbers: Lake) -> None:
    first = numbers.expose()
    [path] = first.files
    inode = path.stat().st_ino
    port, exposure = numbers.port(delimiter=";"), numbers.exposure()
    there: list[bool] = []
    served, plan = numbers.served(exposure), port.plan(exposure)
    port.publish(plan, served, NoPositions(), lambda *_: there.append(path.stat().st_ino == inode))
    assert all(there)
    port.collect(exposure.product, (exposure.snapshot.id,), lambda *_: None)
    assert not path.exists()
    [path] = Exposed(numbers.folder, first.published, []).files
    assert path.read_text().startswith("id;note\n")


def test_of_two_that_publish_at_once_the_second_says_so(numbers: Lake) -> None:
    port, exposure = numbers.port(), numbers.exposure()
    pointer = numbers.folder / "datapackage.json"

    def meanwhile(step: str, _: str) -> None:
        if step == "csv.pointing":  # somebody else publishes, past every ledger
            other = numbers.port(delimiter=";")
            other.publish(other.plan(exposure), numbers.served(exposure), NoPositions(), lambda *_: None)

    with pytest.raises(TargetUnavailable, match="another run published meanwhile"):
        port.publish(port.plan(exposure), numbers.served(exposure), NoPositions(), meanwhile)
    assert json.loads(pointer.read_text())["resources"][0]["dialect"]["delimiter"] == ";"


def test_old_snapshots_and_leftovers_are_collected(numbers: Lake) -> None:
    ids = []
    for number in range(3):
        numbers.insert(f"SELECT 1000 + {number}, 'x'")
        ids.append(numbers.exposure().snapshot.id)
        numbers.expose(singleFile=True)
    exposure, port = numbers.exposure(), numbers.port()
    (numbers.folder / "_staging/dead/run/_temporary/0").mkdir(parents=True)
    (numbers.folder / "_staging/dead/run/part-00000-x.txt").touch()
    for left in ("t-0123456789ab-00000.csv", "t-0123456789ab-00001.csv"):
        (numbers.folder / f"snapshot={ids[2]}" / left).touch()
    (numbers.folder / "README").write_text("not ours")
    (numbers.folder / "mine").mkdir()
    (numbers.folder / "mine" / "x.csv").touch()
    steps: list[str] = []
    port.collect(exposure.product, (ids[2], ids[1]), lambda step, _: steps.append(step))
    assert steps == ["csv.collecting", "csv.collected"]
    assert sorted(each.name for each in numbers.folder.iterdir()) == sorted(
        ["README", "datapackage.json", "mine", f"snapshot={ids[1]}", f"snapshot={ids[2]}"]
    )
    for each in ids[1:]:
        assert len(below(numbers.folder / f"snapshot={each}")) == 2


def test_what_the_pointer_names_is_never_collected(numbers: Lake) -> None:
    shown = numbers.expose()
    before = shown.data
    numbers.insert("SELECT 1000, 'x'")
    newer = numbers.exposure()
    numbers.port().collect(newer.product, (newer.snapshot.id,), lambda *_: None)
    assert shown.data == before
    assert checked(shown) == 100


def test_a_reader_in_between_sees_a_whole_state(numbers: Lake) -> None:
    shown = numbers.expose(keepSnapshots=1)
    stop, seen, failed = threading.Event(), set[int](), list[str]()

    def read() -> None:
        while not stop.is_set():
            package = shown.package
            try:
                rows = sum((shown.root / each["path"]).read_bytes().count(b"\n") - 1 for each in package["resources"])
            except FileNotFoundError:
                # Who reads the pointer just before it is replaced may come too late for what it named.
                if shown.package == package:
                    failed.append("the pointer names a file that is not there")
                continue
            if rows != package["polyexpose"]["rows"]:
                failed.append(f"{rows} rows of {package['polyexpose']['rows']}")
            seen.add(rows)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(4):
        numbers.insert(f"SELECT 1000 + {number}, 'x'")
        numbers.expose()
        exposure = numbers.exposure()
        numbers.port().collect(exposure.product, (exposure.snapshot.id,), lambda *_: None)
    stop.set()
    reader.join()
    assert failed == []
    assert len(seen) >= 2


def test_a_place_that_belongs_to_somebody_else(numbers: Lake) -> None:
    numbers.folder.mkdir()
    pointer = numbers.folder / "datapackage.json"
    pointer.write_text('{"name": "mine", "resources": []}')
    exposure = numbers.exposure()
    for act in (lambda: numbers.expose(), lambda: numbers.port().held(exposure.product)):
        with pytest.raises(TargetFailed, match=r"datapackage\.json is of somebody else; choose another location"):
            act()
    pointer.write_text(json.dumps({"polyexpose": {"productId": "other"}}))
    with pytest.raises(TargetFailed, match="datapackage"):
        numbers.expose()
    assert below(numbers.folder) == ["datapackage.json"]


def test_a_full_disk_leaves_everything_as_it_was(large: Lake, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8) as disk:
        large.folder = disk / "out"
        large.spark.sql(f"CREATE TABLE lake.{large.namespace}.few AS SELECT * FROM lake.{large.namespace}.t LIMIT 10")
        large.expose(name="few")
        before = (large.folder / "datapackage.json").read_bytes()
        large.insert("SELECT id + 10000, note FROM lake." + large.namespace + ".t")
        with pytest.raises(TargetFailed, match=r"(?i)no space left|disk full"):
            large.expose()
        assert (large.folder / "datapackage.json").read_bytes() == before
        assert checked(Exposed(large.folder, None, [])) == 10  # type: ignore[arg-type]
        assert not (large.folder / "_staging").exists()


def test_a_damaged_data_file_is_told_and_nothing_is_published(numbers: Lake) -> None:
    files = numbers.spark.sql(f"SELECT file_path FROM lake.{numbers.namespace}.t.files").collect()
    file = Path(files[0].file_path.removeprefix("file:"))
    file.with_name(f".{file.name}.crc").unlink(missing_ok=True)
    file.write_bytes(b"\0" * file.stat().st_size)
    with pytest.raises(TargetFailed, match=rf"a file cannot be read: .*{numbers.namespace}\.t"):
        numbers.expose()
    assert not numbers.folder.exists()


def test_a_folder_that_cannot_be_made_is_told(numbers: Lake, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    numbers.folder = tmp_path / "file" / "out"
    with pytest.raises(TargetFailed, match=r"Parent path is not a directory: .*/file"):
        numbers.expose()
    assert (tmp_path / "file").read_text() == "in the way"


def test_two_thousand_columns(lake: Lake) -> None:
    types = ("BIGINT", "STRING", "DOUBLE", "TIMESTAMP", "DECIMAL(18,9)", "DATE", "BOOLEAN", "ARRAY<DECIMAL(9,2)>")
    values = ("id", "'a,b'", "1D", "timestamp_micros(id)", "1.5", "DATE'2024-01-01'", "true", "array(1.25, NULL)")
    columns = [(f"column_{number:04}", number % len(types)) for number in range(2000)]
    lake.create(", ".join(f"{name} {types[kind]}" for name, kind in columns))
    lake.insert(f"SELECT {', '.join(values[kind] for _, kind in columns)} FROM range(3)")
    shown = lake.expose()
    assert checked(shown) == 3
    header, *rows = csv.reader(shown.text.splitlines())
    assert header == [name for name, _ in columns]
    texts = ("a,b", "1.0", "1970-01-01T00:00:00.000001Z", "1.500000000", "2024-01-01", "true", '["1.25",null]')
    assert ["1", *texts] * 250 in rows


def test_a_cell_of_ten_megabytes(lake: Lake) -> None:
    lake.create("id INT NOT NULL, note STRING")
    lake.insert("SELECT 1, concat(repeat('x\"\n,', 2500000), 'end') UNION ALL SELECT 2, 'small'")
    shown = lake.expose()
    assert checked(shown) == 2
    assert len(shown.data) > 12_500_000
    csv.field_size_limit(20_000_000)
    rows = {row[0]: row[1] for row in csv.reader(io.StringIO(shown.text, newline=""), strict=True)}
    assert rows["1"] == 'x"\n,' * 2_500_000 + "end"


def test_a_plan_reads_nothing_and_says_what_it_would_do(numbers: Lake) -> None:
    plan: Plan = numbers.port(compression="gzip").plan(numbers.exposure())
    exposure: Exposure = plan.exposure
    folder = f"{numbers.folder}/snapshot={exposure.snapshot.id}"
    assert [(each.verb, each.target) for each in plan.actions] == [
        ("write", f"{folder}/t-{plan.digest[:12]}-*.csv.gz"),
        ("replace", f"{numbers.folder}/datapackage.json"),
        ("remove", str(numbers.folder)),
    ]
    assert plan.actions[0].detail == "about 100 rows, files of at most 256 MiB, gzip"
    assert plan.estimated_bytes == 100 * (10 + 1 + 16 + 1)
    assert not numbers.folder.exists()
