"""Run the statements of a query job: queries, DML, DDL, and transactions around them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from polyexpose_spark.local.bigquery import results, writes
from polyexpose_spark.local.bigquery.errors import invalid_query, not_implemented
from polyexpose_spark.local.bigquery.results import Result
from polyexpose_spark.local.bigquery.sql import ddl, dml
from polyexpose_spark.local.bigquery.sql.oracle import render
from polyexpose_spark.local.bigquery.sql.statements import Statement, parse_statement, split
from polyexpose_spark.local.bigquery.sql.translate import Names, Parameter, Translator
from polyexpose_spark.local.bigquery.store import Catalog, DatasetKey, Store, TableKey, Transaction
from polyexpose_spark.local.bigquery.wire import parameter

MAX_TRANSLATIONS = 512


@dataclass
class Outcome:
    """What a query job did. `affected` counts DML rows; `dml` splits them as ``dmlStats`` does."""

    kind: str = "SCRIPT"
    result: Result = field(default_factory=lambda: results.EMPTY)
    affected: int | None = None
    dml: dict[str, str] = field(default_factory=dict)
    target: TableKey | None = None


@dataclass(frozen=True)
class Translated:
    """A query in DuckDB's SQL, as long as the catalog has this shape."""

    shape: int
    sql: str
    names: frozenset[str]


class Query:
    """One query job's configuration, ready to run on a store."""

    def __init__(self, store: Store, project: str, config: dict[str, Any]) -> None:
        """Read the configuration; raise ApiError for what is not supported or no SQL."""
        if config.get("useLegacySql", True):
            raise not_implemented("Legacy SQL (set useLegacySql to false)")
        if config.get("createSession") or config.get("connectionProperties"):
            raise not_implemented("A session")
        for name in ("tableDefinitions", "userDefinedFunctionResources", "scriptOptions"):
            if config.get(name):
                raise not_implemented(name)
        self.store = store
        self.project = project
        self.config = config
        default = config.get("defaultDataset") or {}
        self.default = (
            DatasetKey(default.get("projectId") or project, default["datasetId"]) if default.get("datasetId") else None
        )
        self.parameters = {
            (str(p.get("name") or "") or f"_{i}").lower(): Parameter(*parameter(p))
            for i, p in enumerate(config.get("queryParameters") or (), 1)
        }
        self.statements = split(str(config.get("query") or ""))

    @property
    def single(self) -> bool:
        """Whether this is one statement, so that it and its job can be one transaction."""
        return len(self.statements) == 1

    @property
    def only_reads(self) -> bool:
        """Whether this is one query whose rows go to the client."""
        return self.single and self.statements[0].words[0] in ("SELECT", "WITH", "(") and not self._destination

    @property
    def _destination(self) -> dict[str, Any] | None:
        return self.config.get("destinationTable")

    # ---- running

    def run(self) -> Outcome:
        """Run all statements; what has been committed before a failing one stays, as in BigQuery."""
        if self.single:
            return self._statement(self.statements[0])
        outcome = Outcome()
        opened: AbstractContextManager[Transaction] | None = None
        try:
            for statement in self.statements:
                words = " ".join(statement.words).split()  # BEGIN TRANSACTION is one token
                word = words[0]
                if word == "BEGIN":
                    if words[1:] not in ([], ["TRANSACTION"]):
                        raise not_implemented("BEGIN ... END blocks")
                    if opened is not None:
                        raise invalid_query("Transaction is already in progress")
                    opened = self.store.transaction()
                    opened.__enter__()
                elif word in ("COMMIT", "ROLLBACK"):
                    if opened is None:
                        raise invalid_query(f"There is no transaction to {word.lower()}")
                    closing, opened = opened, None
                    _close(closing, undo=word == "ROLLBACK")
                else:
                    if opened is not None and word in ("CREATE", "DROP", "ALTER"):
                        raise invalid_query("DDL statements are not supported inside a transaction")
                    done = self._statement(statement)
                    outcome = Outcome("SCRIPT", done.result, done.affected, done.dml)
        finally:
            if opened is not None:  # an error, or a script that ends without COMMIT
                _close(opened, undo=True)
        return Outcome("SCRIPT", outcome.result, outcome.affected, outcome.dml)

    def describe(self) -> Outcome:
        """Say what `run` would do, for a dry run; nothing stays changed."""
        opened = self.store.transaction()
        opened.__enter__()
        try:
            if self.only_reads:
                with self.store.reading() as catalog:
                    sql, values = self._translated(self.statements[0].text, catalog)
                    fields = results.columns(self.store.con, sql, values)
                return Outcome("SELECT", Result(fields, []))
            if not self.single:
                raise not_implemented("A dry run of a script")
            return self._statement(self.statements[0])
        finally:
            _close(opened, undo=True)

    def _statement(self, statement: Statement) -> Outcome:
        word = statement.words[0]
        if word in ("SELECT", "WITH", "("):
            return self._select(statement)
        with self.store.transaction() as tx:
            if word in ("CREATE", "DROP"):
                kind, target = ddl.run(self, tx, statement)
                return Outcome(kind, target=target)
            tree = parse_statement(statement.text)
            if isinstance(tree, (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.TruncateTable)):
                counted = dml.run(self, tx, tree)
                return Outcome(counted.kind, affected=counted.total, dml=counted.stats(), target=counted.target)
        raise not_implemented(f"The statement {statement.text.strip()[:80]}")

    def _select(self, statement: Statement) -> Outcome:
        with self.store.reading() as catalog:
            sql, values = self._translated(statement.text, catalog)
            if self._destination and self.single:
                with self.store.transaction() as tx:
                    source = writes.Source(sql, results.columns(tx.con, sql, values), values)
                    key = writes.table_key(self._destination)
                    writes.write(tx, key, source, self.config, default_disposition="WRITE_EMPTY")
                    result = results.run(tx.con, sql, values)
            else:
                result = results.run(self.store.con, sql, values)
        return Outcome("SELECT", result)

    def _translated(self, text: str, catalog: Catalog) -> tuple[str, dict[str, Any]]:
        kinds = tuple((n, p.engine_type) for n, p in self.parameters.items())
        key = (text, self.project, self.default, kinds)
        known = self.store.translations.get(key)
        if known is None or known.shape != catalog.shape:
            tree = parse_statement(text)
            if not isinstance(tree, exp.Query):
                raise invalid_query(f"Syntax error: {text.strip()[:80]}")
            translator = self.translator(catalog)
            sql = render(translator.query(tree))
            known = Translated(catalog.shape, sql, frozenset(translator.values))
            self.store.translations[key] = known
            while len(self.store.translations) > MAX_TRANSLATIONS:
                self.store.translations.popitem(last=False)
        return known.sql, {n: self.parameters[n.removeprefix("p_")].value for n in known.names}

    # ---- for the statements

    def names(self, catalog: Catalog) -> Names:
        """Return how names resolve in this job."""
        return Names(catalog, self.project, self.default, parse_statement)

    def translator(self, catalog: Catalog) -> Translator:
        """Return a translator for one statement of this job."""
        return Translator(self.store.con, self.names(catalog), self.parameters)


def _close(transaction: AbstractContextManager[Transaction], *, undo: bool) -> None:
    if not undo:
        transaction.__exit__(None, None, None)
        return
    reason = Undo()
    try:
        transaction.__exit__(Undo, reason, None)
    except Undo:
        return


class Undo(Exception):
    """Ends a transaction without a commit."""
