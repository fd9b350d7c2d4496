"""CREATE and DROP of tables, views and datasets, with all that describes a table kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlglot import exp

from polyexpose_spark.local.bigquery import loads, resources, results, views, writes
from polyexpose_spark.local.bigquery.errors import already_exists, invalid, invalid_query, not_found, not_implemented
from polyexpose_spark.local.bigquery.fields import CANONICAL, Field, canonical, quote_name
from polyexpose_spark.local.bigquery.sql.oracle import render
from polyexpose_spark.local.bigquery.sql.statements import Statement, parse_statement
from polyexpose_spark.local.bigquery.store import DatasetKey, Resource, TableKey, Transaction

if TYPE_CHECKING:
    from polyexpose_spark.local.bigquery.sql.script import Query

OPTIONS = {"description": "description", "friendly_name": "friendlyName", "location": "location"}
COPYING = ("CLONE", "COPY")


def run(query: Query, tx: Transaction, statement: Statement) -> tuple[str, TableKey | None]:
    """Run a CREATE or DROP; return the statement type and the table it is about."""
    words = statement.words
    if words[0] == "DROP":
        return _drop(query, tx, statement)
    head = words[1:8]
    snapshot = "SNAPSHOT" in head[:3]
    if snapshot or any(w in COPYING for w in words[3:14]):
        return _copy(query, tx, statement, snapshot=snapshot)
    tree = parse_statement(statement.text)
    assert isinstance(tree, exp.Create)  # noqa: S101 (the statement starts with CREATE)
    kind = str(tree.args["kind"]).upper()
    if kind == "SCHEMA":
        return _schema(query, tx, tree), None
    if kind not in ("TABLE", "VIEW"):
        raise not_implemented(f"CREATE {kind}")
    _only_known(tree)
    return _create(query, tx, tree, statement, kind)


def _only_known(tree: exp.Create) -> None:
    known = {"this", "kind", "replace", "expression", "exists", "properties", "with_"}
    for name, value in tree.args.items():
        if value and name not in known:
            raise not_implemented(f"CREATE with {name}")


def _create(
    query: Query, tx: Transaction, tree: exp.Create, statement: Statement, kind: str
) -> tuple[str, TableKey | None]:
    table = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    key = query.names(tx.catalog).table_key(table)
    tx.catalog.dataset(key.parent)
    done = f"CREATE_{kind}" + ("_AS_SELECT" if kind == "TABLE" and tree.expression else "")
    old = tx.catalog.tables.get(key)
    if old is not None and tree.args.get("exists"):
        return done, key
    if old is not None and not tree.args.get("replace"):
        raise already_exists("Table", str(key))
    settings, like = _settings(query, tx, tree, key)
    if kind == "VIEW":
        _create_view(query, tx, tree, statement, key, settings)
        return done, key
    if old is not None and old.is_view:
        raise invalid(f"{key} is a view, not a table")
    if like is not None:
        if like == key:
            raise invalid_query(f"{key} cannot be replaced by itself")
        if old is not None:
            tx.drop_table(key)
        loads.copied(tx, like, key, settings, rows=False)
        return done, key
    declared = [_field(x) for x in tree.this.expressions] if isinstance(tree.this, exp.Schema) else None
    if tree.expression is None and declared is None:
        raise invalid_query("CREATE TABLE needs columns or a query")
    if tree.expression is None:
        if old is not None:
            tx.drop_table(key)
        resources.new_table(tx, key, declared or [], settings)
        return done, key
    translator = query.translator(tx.catalog)
    sql = render(translator.query(tree.expression))
    source = writes.Source(sql, results.columns(tx.con, sql, translator.values), translator.values)
    # The query may read the table that is replaced: its rows come first.
    tx.con.execute(f"CREATE OR REPLACE TEMP TABLE _new AS {sql}", source.values or None).fetchall()
    if old is not None:
        tx.drop_table(key)
    if declared is not None and len(declared) != len(source.fields):
        raise invalid_query(f"The query has {len(source.fields)} columns, the table {len(declared)}")
    resources.new_table(tx, key, declared or source.fields, settings)
    new = writes.Source("FROM temp._new", source.fields)
    if declared is not None:
        names = ", ".join(
            f"{quote_name(s['name'])} AS {quote_name(d['name'])}" for s, d in zip(source.fields, declared, strict=True)
        )
        new = writes.Source(
            f"SELECT {names} FROM temp._new",
            [{**s, "name": d["name"]} for s, d in zip(source.fields, declared, strict=True)],
        )
    writes.write(tx, key, new, {}, default_disposition="WRITE_APPEND", schema=declared or source.fields)
    tx.con.execute("DROP TABLE temp._new")
    return done, key


def _create_view(
    query: Query, tx: Transaction, tree: exp.Create, statement: Statement, key: TableKey, settings: Resource
) -> None:
    depth = 0
    for token in statement.tokens:
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0 and token.text.upper() == "AS":
            text = statement.after(token)
            break
    else:
        raise invalid_query("CREATE VIEW needs AS and a query")
    listed = [_view_column(x) for x in tree.this.expressions] if isinstance(tree.this, exp.Schema) else []
    if isinstance(tree.expression, exp.Expression) and tree.expression.find(exp.Parameter):
        raise invalid_query("Query parameters cannot be used in a view")
    default = ".".join(query.default) if query.default else ""
    made = views.put_view(
        query.store, tx, key, text, default=default, settings={**settings, "schema": {"fields": listed}}
    )
    if listed and [f["name"] for f in listed] != [f["name"] for f in made.resource["schema"]["fields"]]:
        raise not_implemented("A column list of a view that gives other names than its query")


def _view_column(column: exp.Expression) -> Field:
    out: Field = {"name": column.name}
    for constraint in column.args.get("constraints") or ():
        for p in constraint.kind.expressions if isinstance(constraint.kind, exp.Properties) else ():
            if p.this.name != "description":
                raise not_implemented(f"The column option {p.this.name}")
            out["description"] = p.args["value"].name
    return out


def _settings(query: Query, tx: Transaction, tree: exp.Create, key: TableKey) -> tuple[Resource, TableKey | None]:
    out: Resource = {}
    like = None
    properties = tree.args.get("properties")
    for p in properties.expressions if properties else ():
        if isinstance(p, exp.LikeProperty):
            like = query.names(tx.catalog).table_key(p.this)
        elif isinstance(p, exp.ClusterProperty):
            out["clustering"] = {"fields": [c.name for c in p.expressions]}
        elif isinstance(p, exp.PartitionedByProperty):
            out.update(_partitioning(p.this))
        elif type(p) in (exp.Property, exp.LocationProperty):
            out.update(_option(query, tx, p))
        else:
            raise not_implemented(p.sql("bigquery"))
    return out, like


def _partitioning(by: exp.Expression) -> Resource:
    if isinstance(by, exp.RangeBucket) and isinstance(by.expression, exp.GenerateSeries):
        series = by.expression
        step = series.args.get("step")
        bounds = {"start": series.args["start"], "end": series.args["end"], "interval": step}
        named = {k: v.name if v is not None else "1" for k, v in bounds.items()}
        return {"rangePartitioning": {"field": by.this.name, "range": named}}
    if isinstance(by, (exp.Identifier, exp.Column)):
        if by.name.upper() in ("_PARTITIONDATE", "_PARTITIONTIME"):
            return {"timePartitioning": {"type": "DAY"}}
        return {"timePartitioning": {"type": "DAY", "field": by.name}}
    if isinstance(by, exp.Date) and isinstance(by.this, exp.Column) and not by.args.get("zone"):
        return {"timePartitioning": {"type": "DAY", "field": by.this.name}}
    if isinstance(by, (exp.DateTrunc, exp.TimestampTrunc, exp.DatetimeTrunc)) and isinstance(by.this, exp.Column):
        return {"timePartitioning": {"type": by.args["unit"].name.upper(), "field": by.this.name}}
    raise not_implemented(f"PARTITION BY {by.sql('bigquery')}")


def _option(query: Query, tx: Transaction, p: exp.Expression) -> Resource:
    if isinstance(p, exp.LocationProperty):
        return {"location": p.this.name}
    name, value = p.this.name.lower(), p.args["value"]
    if name in OPTIONS:
        if not isinstance(value, exp.Literal):
            raise not_implemented(f"An option {name} that is not a literal")
        return {OPTIONS[name]: value.name}
    if name == "labels":
        pairs = [x.expressions for x in value.expressions]
        return {"labels": {k.name: v.name for k, v in pairs}}
    if name in ("expiration_timestamp", "default_table_expiration_days"):
        if isinstance(value, exp.Null):
            return {}
        translator = query.translator(tx.catalog)
        sql = render(translator.query(exp.select(exp.alias_(value.copy(), "v"))))
        found = tx.con.execute(sql, translator.values or None).fetchall()[0][0]
        if name == "expiration_timestamp":
            return {"expirationTime": str(int(found.timestamp() * 1000))}
        return {"defaultTableExpirationMs": str(int(float(found) * 86_400_000))}
    raise not_implemented(f"The option {name}")


def _field(column: exp.Expression) -> Field:
    if not isinstance(column, exp.ColumnDef):
        raise not_implemented(f"{column.sql('bigquery')} in CREATE TABLE")
    out = _typed(column.name, column.args["kind"])
    for constraint in column.args.get("constraints") or ():
        kind = constraint.kind
        if isinstance(kind, exp.NotNullColumnConstraint):
            out["mode"] = "REQUIRED"
        elif isinstance(kind, exp.DefaultColumnConstraint):
            out["defaultValueExpression"] = kind.this.sql("bigquery")
        elif isinstance(kind, exp.Properties):
            for p in kind.expressions:
                if p.this.name != "description":
                    raise not_implemented(f"The column option {p.this.name}")
                out["description"] = p.args["value"].name
        else:
            raise not_implemented(constraint.sql("bigquery"))
    return out


def _typed(name: str, kind: exp.DataType) -> Field:
    if kind.this == exp.DataType.Type.ARRAY:
        inner = _typed(name, kind.expressions[0])
        if inner["mode"] == "REPEATED":
            raise invalid_query("Arrays of arrays are not supported")
        return {**inner, "mode": "REPEATED"}
    if kind.this == exp.DataType.Type.STRUCT:
        fields = [_field(x) for x in kind.expressions]
        return {"name": name, "type": "RECORD", "mode": "NULLABLE", "fields": fields}
    text = kind.sql("bigquery").split("(")[0].upper()
    out: Field = {"name": name, "type": CANONICAL.get(text, text), "mode": "NULLABLE"}
    sizes = [p.this.name for p in kind.expressions if isinstance(p, exp.DataTypeParam)]
    if sizes and out["type"] in ("NUMERIC", "BIGNUMERIC"):
        out.update(zip(("precision", "scale"), sizes, strict=False))
    elif sizes:
        out["maxLength"] = sizes[0]
    return canonical([out])[0]


# ---- CLONE, COPY and SNAPSHOT, which sqlglot does not parse with options


def _copy(query: Query, tx: Transaction, statement: Statement, *, snapshot: bool) -> tuple[str, TableKey]:
    words = statement.words
    at = next((i for i, w in enumerate(words) if w in COPYING), None)
    if at is None:
        raise invalid_query("CREATE SNAPSHOT TABLE needs CLONE and a table")
    end = at + 1
    while end < len(words) and words[end] != "OPTIONS":
        end += 1
    tokens = statement.tokens
    source_text = statement.text[tokens[at + 1].start : tokens[end - 1].end + 1] if end > at + 1 else ""
    if "FOR" in words[at:end]:
        raise not_implemented("FOR SYSTEM_TIME AS OF")
    head = statement.text[: tokens[at].start]
    if snapshot:
        word = next(t for t in tokens if t.text.upper() == "SNAPSHOT")
        head = head[: word.start] + head[word.end + 1 :]
    # What is left is a CREATE TABLE without columns, which takes the same options.
    tail = statement.text[tokens[end].start :] if end < len(words) else ""
    tree: Any = parse_statement(f"{head} {tail}")
    if not isinstance(tree, exp.Create):
        raise invalid_query(f"Syntax error: {statement.text.strip()[:80]}")
    names = query.names(tx.catalog)
    key = names.table_key(tree.this)
    read: Any = parse_statement(f"SELECT 1 FROM {source_text}")
    source = names.table_key(read.args["from_"].this)
    kind = "CREATE_SNAPSHOT_TABLE" if snapshot else "CREATE_TABLE_COPY" if words[at] == "COPY" else "CREATE_TABLE_CLONE"
    tx.catalog.table(source)
    tx.catalog.dataset(key.parent)
    if key in tx.catalog.tables:
        if tree.args.get("exists"):
            return kind, key
        if not tree.args.get("replace"):
            raise already_exists("Table", str(key))
        if key == source:
            raise invalid_query(f"{key} cannot be replaced by itself")
        tx.drop_table(key)
    settings, _ = _settings(query, tx, tree, key)
    loads.copied(tx, source, key, settings, snapshot=snapshot)
    return kind, key


def _schema(query: Query, tx: Transaction, tree: exp.Create) -> str:
    key = _dataset_key(query, tree.this)
    if key in tx.catalog.datasets:
        if tree.args.get("exists"):
            return "CREATE_SCHEMA"
        raise already_exists("Dataset", str(key))
    settings, _ = _settings(query, tx, tree, TableKey(*key, ""))
    resources.create_dataset(tx, key, settings)
    return "CREATE_SCHEMA"


def _dataset_key(query: Query, table: exp.Expression) -> DatasetKey:
    parts = [p for part in (table.args.get("catalog"), table.args.get("db")) if part for p in part.name.split(".")]
    return DatasetKey(".".join(parts[:-1]) or query.project, parts[-1])


def _drop(query: Query, tx: Transaction, statement: Statement) -> tuple[str, TableKey | None]:
    text = statement.text
    snapshot = len(statement.tokens) > 1 and statement.words[1] == "SNAPSHOT"
    if snapshot:
        text = text[: statement.tokens[1].start] + text[statement.tokens[1].end + 1 :]
    tree: Any = parse_statement(text)
    kind = str(tree.args["kind"]).upper()
    target = tree.args["tables"][0] if tree.args.get("tables") else tree.this
    if kind == "SCHEMA":
        dataset = _dataset_key(query, target)
        if dataset not in tx.catalog.datasets:
            if tree.args.get("exists"):
                return "DROP_SCHEMA", None
            raise not_found("Dataset", str(dataset))
        resources.delete_dataset(tx, dataset, contents=bool(tree.args.get("cascade")))
        return "DROP_SCHEMA", None
    if kind not in ("TABLE", "VIEW") or len(tree.args.get("tables") or [1]) > 1:
        raise not_implemented(f"DROP {kind}")
    key = query.names(tx.catalog).table_key(target)
    wanted = "SNAPSHOT" if snapshot else kind
    done = "DROP_SNAPSHOT_TABLE" if snapshot else f"DROP_{kind}"
    if key not in tx.catalog.tables:
        if tree.args.get("exists"):
            return done, key
        raise not_found("Table", str(key))
    found = tx.catalog.tables[key].resource["type"]
    if found != wanted:
        raise invalid_query(f"{key} is a {found}, not a {wanted}")
    tx.drop_table(key)
    return done, key
