#!/usr/bin/env bash
# The main job on a laptop, as `make demo` runs it: sample data into a local Iceberg catalog, exposed at one snapshot,
# and what each consumer then sees. Run again it changes nothing and says so. What serves GraphQL keeps running.
# Usage: infra/local/demo.sh PROPERTIES   (the file that `make setup` writes)
set -euo pipefail
cd "$(dirname "$0")/../.."
properties=$1
products=conf/products

python=$PWD/.venv/bin/python
JAVA_HOME=$(cat "$properties.java-home")
SPARK_HOME=$("$python" -c 'from polyexpose_spark.runtime import spark_home; print(spark_home())')
# Python on the driver and in Spark's workers: the one with the packages, whatever is on the PATH.
export JAVA_HOME SPARK_HOME PYSPARK_PYTHON=$python

bold='' plain=''
if [ -t 1 ]; then bold=$(tput bold 2>/dev/null || true) plain=$(tput sgr0 2>/dev/null || true); fi
title() { printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }
said() { printf '  $ %s\n' "$*"; }
submit() {
  said "spark-submit --properties-file $properties --py-files dist/polyexpose_spark.zip dist/main.py $*"
  "$SPARK_HOME/bin/spark-submit" --properties-file "$properties" --py-files dist/polyexpose_spark.zip dist/main.py "$@"
}

title "1. Sample data: the flights that left New York City in 2013, into a local Iceberg catalog"
echo "  Spark's own log: $PWD/.polyexpose/log/spark.log"
submit --mode sample

title "2. What stands in for the cloud: a BigQuery server, a GraphQL engine in front of it, a Pub/Sub Lite server"
said ".venv/bin/python -m polyexpose_spark.local up --detach"
"$python" -m polyexpose_spark.local up --detach

title "3. Expose every contract of $products at every port, each at one snapshot"
submit --mode all --product "$products"

title "4. What an analyst sees: SQL on the exposed view"
query="SELECT carrier, COUNT(*) AS flights, ROUND(AVG(arr_delay), 1) AS minutes_late
  FROM nyc_exposed.flights GROUP BY carrier ORDER BY flights DESC LIMIT 5"
said ".venv/bin/polyexpose --mode sql --query \"$query\""
.venv/bin/polyexpose --mode sql --query "$query"

title "5. What a data scientist sees: CSV with a Frictionless data package"
"$python" infra/local/show_csv.py nyc-flights "$products"

title "6. What an application developer sees: GraphQL, nested along the contracts' relationships"
"$python" infra/local/show_gql.py

title "7. What an event-driven application sees: every row as an event, then every change"
"$python" infra/local/show_events.py nyc-airlines

title "8. What an operator sees: which snapshot is exposed where, and how far behind"
said ".venv/bin/polyexpose --mode status --product $products"
.venv/bin/polyexpose --mode status --product "$products"

receipts=.polyexpose/state/nyc-flights/receipts/csv
said "tail -n +1 $receipts/*.json    # every exposure leaves a receipt; of the newest:"
newest=("$receipts"/*.json)
sed -nE '/"(product|contractVersion|outcome|table|snapshotId|tag|digest|rows|bytesWritten)"/p' "${newest[-1]}"

title "Next, try"
cat <<EOF
  .venv/bin/polyexpose --mode sql --describe nyc.flights
  .venv/bin/polyexpose --mode plan --product $products/flights.odcs.yaml
  .venv/bin/polyexpose --mode sql --query "INSERT INTO nyc.airlines VALUES ('ZZ', 'Zeppelin Air')" --allow-writes
  .venv/bin/polyexpose --mode all --product $products/airlines.odcs.yaml    # exposes the new row; the rest stays as it is
  .venv/bin/polyexpose --mode events --product $products/airlines.odcs.yaml --follow     # every commit from now on, until Ctrl-C
EOF
title "Still running: the servers of step 2"
echo "  make down    # stops them; what they keep stays in .polyexpose, and \`make up\` starts them again"
