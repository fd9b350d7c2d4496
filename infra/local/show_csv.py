"""Show the CSV of a product as a consumer meets it: where it is, its first lines, and the line that reads it."""

from __future__ import annotations

import gzip
import itertools
import json
import subprocess
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
    size = sum(file.stat().st_size for file in files)
    print(f"  {address}/datapackage.json says what is served: {len(files)} files, {size:,} bytes. The first begins:")
    opened = gzip.open if files[0].suffix == ".gz" else open
    with opened(files[0], "rt", encoding="utf-8", newline="") as lines:
        for line in itertools.islice(lines, 4):
            print("    " + line.rstrip("\n"))
    print("  All of it in pandas:")
    read = (
        f"at = '{address}'; flights = pandas.concat(pandas.read_csv(f'{{at}}/{{part[\"path\"]}}', low_memory=False)"
        " for part in json.load(open(f'{at}/datapackage.json'))['resources'])"
    )
    print(f"    import json, pandas; {read}", flush=True)
    told = "print(f'  which gives {len(flights):,} rows, {flights.shape[1]} columns')"
    subprocess.run([sys.executable, "-c", f"import json, pandas; {read}; {told}"], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
