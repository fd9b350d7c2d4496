"""INSERT, UPDATE, DELETE, TRUNCATE and MERGE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from polyexpose_spark.local.bigquery import results, writes
from polyexpose_spark.local.bigquery.errors import invalid, invalid_query, not_implemented
from polyexpose_spark.local.bigquery.fields import engine_type, quote_name
from polyexpose_spark.local.bigquery.sql.oracle import render
from polyexpose_spark.local.bigquery.sql.translate import Translator, physical_table
from polyexpose_spark.local.bigquery.store import Entry, TableKey, Transaction

if TYPE_CHECKING:
    from polyexpose_spark.local.bigquery.sql.script import Query

# Columns that a string literal becomes a value of by itself.
TAKE_LITERALS = ("STRING", "DATE", "TIME", "DATETIME", "TIMESTAMP")
SEVERAL_ROWS = "UPDATE/MERGE must match at most one source row for each target row"


@dataclass
class Counted:
    """How many rows a statement changed."""

    kind: str
    target: TableKey
    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    @property
    def total(self) -> int:
        """All rows that changed."""
        return self.inserted + self.updated + self.deleted

    def stats(self) -> dict[str, str]:
        """Return the ``dmlStats`` of the REST API."""
        named = {"insertedRowCount": self.inserted, "updatedRowCount": self.updated, "deletedRowCount": self.deleted}
        return {k: str(v) for k, v in named.items()}


class Change:
    """One DML statement on one table."""

    def __init__(self, query: Query, tx: Transaction, tree: exp.Expression, table: exp.Expression) -> None:
        if not isinstance(table, exp.Table):
            raise invalid_query(f"Syntax error: {table.sql('bigquery')[:80]} is not a table")
        self.tx = tx
        self.tree = tree
        self.translator: Translator = query.translator(tx.catalog)
        self.key = self.translator.names.table_key(table)
        self.entry: Entry = tx.catalog.table(self.key)
        if self.entry.resource["type"] != "TABLE":
            raise invalid(f"{self.key} is a {self.entry.resource['type']}: its rows cannot be changed")
        self.alias = table.alias or self.key.table
        self.target = physical_table(self.entry, self.alias)

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run translated SQL with the parameters it names."""
        return self.tx.con.execute(sql, self.translator.values or None).fetchall()

    def count(self, sql: str) -> int:
        """Run translated SQL that changes rows; return how many."""
        return int(self.execute(sql)[0][0])

    def condition(self, node: exp.Expression, tables: Sequence[exp.Expression]) -> str:
        """Translate an expression over `tables`."""
        return render(self.translator.expression(node, list(tables)))

    def assignments(self, equalities: list[exp.Expression], tables: Sequence[exp.Expression]) -> str:
        """Translate the SET list, each value checked against its column's type."""
        out = []
        for item in equalities:
            if not isinstance(item, exp.EQ) or not isinstance(item.this, exp.Column):
                raise not_implemented(f"SET {item.sql('bigquery')}")
            if (item.this.table and item.this.table.lower() != self.alias.lower()) or item.this.args.get("db"):
                raise not_implemented(f"SET of a nested field: {item.this.sql('bigquery')}")
            out.append(
                f"{quote_name(self._column(item.this.name))} = {self._value(item.this.name, item.expression, tables)}"
            )
        return ", ".join(out)

    def _field(self, name: str) -> dict[str, Any]:
        for f in self.entry.fields:
            if f["name"].lower() == name.lower():
                return f
        raise invalid_query(f"Column {name} is not present in table {self.key}")

    def _column(self, name: str) -> str:
        return str(self._field(name)["name"])

    def _value(self, name: str, node: exp.Expression, tables: Sequence[exp.Expression]) -> str:
        field = self._field(name)
        if isinstance(node, exp.Var) and node.name.upper() == "DEFAULT":
            return "DEFAULT"
        return f"CAST({self.condition(node, tables)} AS {engine_type(field)})"

    def done(self) -> None:
        """Check the rows and give the table a new etag."""
        writes.check_rows(self.tx, self.key, self.entry)
        self.tx.rows_changed(self.key)


def run(query: Query, tx: Transaction, tree: exp.Expression) -> Counted:
    """Run one statement; raise ApiError 400 for what BigQuery refuses as well."""
    if tree.args.get("with_") or tree.args.get("returning"):
        raise not_implemented(f"WITH or RETURNING in {type(tree).__name__.upper()}")
    if isinstance(tree, exp.TruncateTable):
        change = Change(query, tx, tree, tree.expressions[0])
        counted = Counted("TRUNCATE_TABLE", change.key)
        counted.deleted = change.count(f"DELETE FROM {change.entry.source}")
    elif isinstance(tree, exp.Insert):
        table = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
        change = Change(query, tx, tree, table)
        counted = Counted("INSERT", change.key, inserted=_insert(change))
    elif isinstance(tree, exp.Update):
        change = Change(query, tx, tree, tree.this)
        counted = Counted("UPDATE", change.key, updated=_update(change))
    elif isinstance(tree, exp.Delete):
        change = Change(query, tx, tree, tree.this)
        counted = Counted("DELETE", change.key, deleted=_delete(change))
    else:
        change = Change(query, tx, tree, tree.this)
        counted = _merge(change)
    change.done()
    return counted


def _insert(change: Change) -> int:
    tree, entry = change.tree, change.entry
    listed = tree.this.expressions if isinstance(tree.this, exp.Schema) else []
    names = [change._column(c.name) for c in listed] or [f["name"] for f in entry.fields]
    columns = ", ".join(quote_name(n) for n in names)
    body = tree.expression
    if isinstance(body, exp.Values):
        rows = []
        for row in body.expressions:
            cells = row.expressions if isinstance(row, exp.Tuple) else [row]
            if len(cells) != len(names):
                raise invalid_query(f"Inserted row has wrong column count; Has {len(cells)}, expected {len(names)}")
            rows.append("(" + ", ".join(_cell(change, n, c) for n, c in zip(names, cells, strict=True)) + ")")
        return change.count(f"INSERT INTO {entry.source} ({columns}) VALUES {', '.join(rows)}")
    if not isinstance(body, exp.Query):
        raise invalid_query("INSERT needs VALUES or a query")
    nulls = {i for i, e in enumerate(body.selects) if isinstance(e.unalias(), exp.Null)}
    # Columns are matched by position, so a name twice does no harm here.
    numbered: Any = _numbered(body)
    sql = render(change.translator.query(numbered))
    given = results.columns(change.tx.con, sql, change.translator.values)
    if len(given) != len(names):
        raise invalid_query(f"Inserted row has wrong column count; Has {len(given)}, expected {len(names)}")
    values = []
    for i, (name, f) in enumerate(zip(names, given, strict=True)):
        target = change._field(name)
        if i not in nulls:
            writes.check_assignable(f, target, f"Query column {i + 1} cannot be inserted into column {name}: it")
        values.append(f"CAST({quote_name(f['name'])} AS {engine_type(target)})")
    return change.count(f"INSERT INTO {entry.source} ({columns}) SELECT {', '.join(values)} FROM ({sql})")


def _numbered(body: exp.Query) -> exp.Query:
    select: Any = body
    while isinstance(select, (exp.SetOperation, exp.Subquery)):
        select = select.this
    if any(e.is_star for e in select.expressions):
        return body
    select.set("expressions", [exp.alias_(e.unalias(), f"c{i}") for i, e in enumerate(select.expressions)])
    return body


def _cell(change: Change, name: str, cell: exp.Expression) -> str:
    if isinstance(cell, exp.Column) and cell.name.upper() == "DEFAULT" and not cell.table:
        return "DEFAULT"
    holder = exp.Paren(this=cell)
    _check_type(change, name, holder.this, ())
    return change._value(name, holder.this, ())


def _check_type(change: Change, name: str, node: exp.Expression, tables: Sequence[exp.Expression]) -> None:
    """Refuse a value that BigQuery would not coerce; string literals become what the column is."""
    if isinstance(node, (exp.Null, exp.Var)):
        return
    if isinstance(node, exp.Literal) and node.is_string and change._field(name)["type"] in TAKE_LITERALS:
        return
    number = node.this if isinstance(node, exp.Neg) else node
    decimal = change._field(name)["type"] in ("NUMERIC", "BIGNUMERIC")
    if isinstance(number, exp.Literal) and not number.is_string and decimal:
        return
    probe = change.condition(node.copy(), tables)
    from_ = " FROM " + ", ".join(render(t) for t in tables) if tables else ""
    field = results.columns(change.tx.con, f"SELECT {probe} AS x{from_}", change.translator.values)[0]
    target = change._field(name)
    empty = isinstance(node, exp.Array) and not node.expressions
    if not empty:
        writes.check_assignable(field, target, f"Value cannot be assigned to column {name}: it")


def _source(change: Change, node: exp.Expression) -> exp.Expression:
    return change.translator.source(node.copy())


def _update(change: Change) -> int:
    tree = change.tree
    where = tree.args.get("where")
    if where is None:
        raise invalid_query("UPDATE must have a WHERE clause")
    tables: list[exp.Expression] = [change.target]
    from_ = tree.args.get("from_")
    if from_ is not None:
        if from_.this.args.get("joins"):
            raise not_implemented("A join in UPDATE ... FROM")
        tables.append(_source(change, from_.this))
    for item in tree.expressions:
        _check_type(change, item.this.name, item.expression, tables)
    condition = change.condition(where.this, tables)
    extra = f" FROM {render(tables[1])}" if from_ is not None else ""
    if from_ is not None:
        _one_source_row(change, tables, condition)
    sets = change.assignments(tree.expressions, tables)
    return change.count(f"UPDATE {render(change.target)} SET {sets}{extra} WHERE {condition}")


def _one_source_row(change: Change, tables: Sequence[exp.Expression], condition: str) -> None:
    """Raise 400 if a target row has several source rows; DuckDB would take one of them."""
    row = f"{quote_name(change.alias)}.rowid"
    found = change.execute(
        f"SELECT 1 FROM {', '.join(render(t) for t in tables)} WHERE {condition} "
        f"GROUP BY {row} HAVING count(*) > 1 LIMIT 1"
    )
    if found:
        raise invalid_query(SEVERAL_ROWS)


def _delete(change: Change) -> int:
    where = change.tree.args.get("where")
    if where is None:
        raise invalid_query("DELETE must have a WHERE clause")
    condition = change.condition(where.this, [change.target])
    return change.count(f"DELETE FROM {render(change.target)} WHERE {condition}")


# ---- MERGE


def _merge(change: Change) -> Counted:
    """Run a MERGE branch by branch over one join, so that each row takes the first branch that fits it."""
    tree = change.tree
    source = _source(change, tree.args["using"])
    if not source.alias:
        source.set("alias", exp.TableAlias(this=exp.to_identifier("_source", quoted=True)))
    tables = [change.target, source]
    on = change.condition(tree.args["on"], tables)
    target_sql, source_sql = render(change.target), render(source)
    whens, affected = [], []
    counted = Counted("MERGE", change.key)
    for when in tree.args["whens"].expressions:
        side = "MATCHED" if when.args.get("matched") else "BY SOURCE" if when.args.get("source") else "BY TARGET"
        seen = tables if side == "MATCHED" else [change.target] if side == "BY SOURCE" else [source]
        condition = when.args.get("condition")
        test = f" AND {change.condition(condition, seen)}" if condition is not None else ""
        action = _action(change, when.args["then"], side, seen, source)
        head = {"MATCHED": "MATCHED", "BY SOURCE": "NOT MATCHED BY SOURCE", "BY TARGET": "NOT MATCHED BY TARGET"}[side]
        whens.append(f"WHEN {head}{test} THEN {action}")
        affected.append((side, test.removeprefix(" AND ") or "TRUE", action.split(" ")[0]))
    _refuse_several(change, target_sql, source_sql, on, affected)
    rows = change.execute(
        f"MERGE INTO {target_sql} USING {source_sql} ON {on} {' '.join(whens)} RETURNING merge_action"
    )
    for (action,) in rows:
        if action == "INSERT":
            counted.inserted += 1
        elif action == "UPDATE":
            counted.updated += 1
        else:
            counted.deleted += 1
    return counted


def _refuse_several(change: Change, target: str, source: str, on: str, branches: list[tuple[str, str, str]]) -> None:
    """Raise 400 if a target row would be changed by several source rows; DuckDB would take one of them."""
    matched = [test for side, test, _ in branches if side == "MATCHED"]
    if not matched:
        return
    row = f"{quote_name(change.alias)}.rowid"
    fits = " OR ".join(f"({t})" for t in matched)
    found = change.execute(
        f"SELECT 1 FROM {target} JOIN {source} ON {on} WHERE {fits} GROUP BY {row} HAVING count(*) > 1 LIMIT 1"
    )
    if found:
        raise invalid_query(SEVERAL_ROWS)


def _action(
    change: Change, then: exp.Expression, side: str, tables: Sequence[exp.Expression], source: exp.Expression
) -> str:
    if isinstance(then, exp.Var) and then.name.upper() == "DELETE" and side != "BY TARGET":
        return "DELETE"
    if isinstance(then, exp.Update) and side != "BY TARGET":
        for item in then.expressions:
            _check_type(change, item.this.name, item.expression, tables)
        return f"UPDATE SET {change.assignments(then.expressions, tables)}"
    if not isinstance(then, exp.Insert) or side != "BY TARGET":
        raise invalid_query(f"Syntax error: {then.sql('bigquery')} in WHEN NOT MATCHED {side}")
    names = [f["name"] for f in change.entry.fields]
    if isinstance(then.this, exp.Var) and then.this.name.upper() == "ROW":
        cells: list[exp.Expression] = [exp.column(n, table=source.alias, quoted=True) for n in names]
    else:
        listed = then.this.expressions if isinstance(then.this, (exp.Tuple, exp.Schema)) else []
        names = [change._column(c.name) for c in listed] or names
        body: Any = then.expression
        if isinstance(body, exp.Var) and body.name.upper() == "ROW":
            cells = [exp.column(n, table=source.alias, quoted=True) for n in names]
        else:
            cells = list(body.expressions if isinstance(body, exp.Tuple) else body.expressions[0].expressions)
    if len(cells) != len(names):
        raise invalid_query(f"Inserted row has wrong column count; Has {len(cells)}, expected {len(names)}")
    values = []
    for name, cell in zip(names, cells, strict=True):
        holder = exp.Paren(this=cell.copy())
        _check_type(change, name, holder.this, tables)
        values.append(change._value(name, holder.this, tables))
    return f"INSERT ({', '.join(quote_name(n) for n in names)}) VALUES ({', '.join(values)})"
