"""Show GraphQL as an application developer meets it: where the console is, and one nested question with its answer."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import urllib.request

from polyexpose_spark import config
from polyexpose_spark.workspace import address_models

QUESTION = """{
  nyc_flights(order_by: {arr_delay: desc_nulls_last}, limit: 2) {
    time_hour flight arr_delay
    airlines { name }
    origin_airports { name }
    dest_airports { name }
    planes { manufacturer model seats }
  }
}"""


def main() -> None:
    """Ask for the two flights that arrived latest, and for what their foreign keys lead to."""
    engine = config.load("local", port_models=address_models()).ports["gql"]["hasura"]["endpoint"]
    print(f"  In a browser: {engine}/console")
    print("  In a program, one POST; the two flights that arrived latest:")
    print("\n".join(f"    {line}" for line in QUESTION.splitlines()))
    role = {"X-Hasura-Role": "reader"}
    body = json.dumps({"query": " ".join(QUESTION.split())})
    curl = ["curl", "-sS", "--noproxy", "*", f"{engine}/v1/graphql", "-d", body]
    curl += [word for name, value in role.items() for word in ("-H", f"{name}: {value}")]
    print(f"  $ {shlex.join(curl)}", flush=True)
    if shutil.which("curl"):
        text = subprocess.run(curl, check=True, capture_output=True, text=True).stdout
    else:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(f"{engine}/v1/graphql", body.encode(), role)  # noqa: S310 - our own address
        text = direct.open(request, timeout=60).read().decode()
    answer = json.loads(text)
    print("\n".join(f"    {line}" for line in json.dumps(answer, indent=2, ensure_ascii=False).splitlines()))
    if "errors" in answer:
        sys.exit(1)


if __name__ == "__main__":
    main()
