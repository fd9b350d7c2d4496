"""The Spark side of port csv: write the rows as parts, then let executors finish the parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from polyexpose_spark.errors import TargetFailed
from polyexpose_spark.ports import csv_parts
from polyexpose_spark.ports.csv_parts import Part, Piece, Sealing

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    from polyexpose_spark.clients import StoredFile


_TASK_BYTES = 1 << 30
"""One task handles parts of about this size in all."""


def stage(rows: DataFrame, line: Column, folder: str) -> int:
    """Write each row as one line into a folder; return how many rows were seen on the way.

    Args:
        rows: the rows.
        line: the text of a row.
        folder: a folder that does not exist yet.
    """
    from pyspark.sql import Observation
    from pyspark.sql import functions as F

    seen = Observation()
    text = rows.select(line.alias("value")).observe(seen, F.count(F.lit(1)).alias("rows"))
    # Said here, since a platform may have other defaults: one file per task, as it is, ending lines with LF.
    writer = text.write.option("maxRecordsPerFile", 0)
    writer.text(folder if "://" in folder else f"file://{folder}", compression="none", lineSep="\n")
    return int(seen.get["rows"])


def parts(stored: Sequence[StoredFile]) -> list[Part]:
    """Return the parts among the files that Spark left, in the order of the rows; empty ones are left out."""
    found = [Part(each.path, each.size) for each in stored if _name(each.path).startswith("part-") and each.size]
    return sorted(found, key=lambda part: int(_name(part.path).split("-")[1]))


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def sealed(session: SparkSession, parts: Sequence[Part], sealing: Sealing, rows: int) -> list[tuple[Piece, int]]:
    """Turn the parts into files, each with its rows, on the executors.

    Raises:
        TargetFailed: what was written is not as many rows as were seen.
    """
    texts = _on_executors(session, csv_parts.sealer(parts, sealing), parts)
    by_part = [csv_parts.pieces(each) for each in texts]
    pieces = [piece for each in by_part for piece in each]
    in_header = 0 if sealing.header is None else sealing.header.count("\n") + 1
    if sum(each.line_ends for each in pieces) == rows + in_header * len(pieces):
        # No cell holds a line end.
        return [(each, each.line_ends - in_header) for each in pieces]
    # A part that was not split is counted again, by its quotes: it is there as Spark wrote it.
    again = [number for number, each in enumerate(by_part) if each[0].rows is None]
    left = [parts[number] for number in again]
    counts = map(int, _on_executors(session, csv_parts.counter(left, sealing.storage), left))
    counted = {by_part[number][0].path: count - bool(in_header) for number, count in zip(again, counts, strict=True)}
    found = [(each, counted[each.path] if each.rows is None else each.rows) for each in pieces]
    written = sum(count for _, count in found)
    if written != rows:
        raise TargetFailed(f"{rows:,} rows were read and {written:,} written; nothing was published")
    return found


def _on_executors(session: SparkSession, function: Callable[[int], str], parts: Sequence[Part]) -> list[str]:
    """Call the function with the number of each part on the executors; return the results in this order."""
    from pyspark import cloudpickle

    if not parts:
        return []
    # The code travels with the task: executors need not have this package, however the driver came by it.
    cloudpickle.register_pickle_by_value(csv_parts)  # type: ignore[no-untyped-call]
    # A task that calls Python costs a tenth of a second: no more of them than there are cores, unless parts are many.
    context = session.sparkContext
    wanted = max(context.defaultParallelism, -(-sum(part.size for part in parts) // _TASK_BYTES))
    return context.parallelize(range(len(parts)), min(len(parts), wanted)).map(function).collect()
