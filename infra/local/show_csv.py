"""Show the CSV of a product as a consumer meets it: where it is, its first lines, and the line that reads it."""

from __future__ import annotations

import gzip
import itertools
import json
import sys
from pathlib import Path

from polyexpose_spark import app
from polyexpose_spark.workspace import Request


def main(product: str, contracts: str) -> None:
    """Print the data package of `product`, one of the contracts in the folder `contracts`."""
    states = app.status(Request(products=(contracts,), modes=("csv",)))
    address = next(Path(state.address) for state in states if state.product.id == product and state.address)
    package = json.loads((address / "datapackage.json").read_text(encoding="utf-8"))
    files = [address / resource["path"] for resource in package["resources"]]
    print(f"  {address}/datapackage.json names {len(files)} file(s), {sum(f.stat().st_size for f in files):,} bytes")
    print(f"  {files[0]} begins:")
    opened = gzip.open if files[0].suffix == ".gz" else open
    with opened(files[0], "rt", encoding="utf-8", newline="") as lines:
        for line in itertools.islice(lines, 4):
            print("    " + line.rstrip("\n"))
    names = f"glob.glob('{files[0].parent}/*')" if len(files) > 1 else f"['{files[0]}']"
    print("  all of it in pandas:")
    print(f"    pandas.concat(map(pandas.read_csv, {names}))")


if __name__ == "__main__":
    main(*sys.argv[1:])
