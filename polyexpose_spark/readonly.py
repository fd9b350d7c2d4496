"""Is a SQL statement read-only? Decided on the plans that Spark itself makes of it; nothing is executed here.

An allow-list: whatever Spark calls a command is refused unless it only shows, describes or explains. So neither
WITH nor comments nor a new kind of statement gets around it. It keeps a reader from changing things by SQL; it
is no sandbox: what the session may read (tables, files by path) can be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_CATALYST = "org.apache.spark.sql.catalyst."
# A statement that Spark runs, and one that it still has to resolve (INSERT, CALL, ...).
_STATEMENTS = (f"{_CATALYST}plans.logical.Command", f"{_CATALYST}plans.logical.ParsedStatement")
# Plans that are no commands, and act all the same.
_ACTING = {
    "ScriptTransformation": "runs a program on the executors (TRANSFORM)",
    "InsertIntoDir": "writes files (INSERT OVERWRITE DIRECTORY)",
    "CompoundBody": "is a script (BEGIN ... END)",
}
# Functions that can do anything; Spark 4.0 has try_reflect in the same class.
_ACTING_FUNCTIONS = {"CallMethodViaReflection": "calls Java code (reflect, java_method)"}


def why_not(session: SparkSession, statement: str) -> str | None:
    """Return why one statement is not read-only; None: it is.

    Args:
        session: an ordinary session, not Spark Connect (the plans are looked at through py4j).
        statement: one SQL statement.

    Raises:
        pyspark.errors.AnalysisException: Spark cannot parse it, or does not find what it names.
    """
    state: Any = session._jsparkSession.sessionState()
    plans = _Plans(session)
    parsed = state.sqlParser().parsePlan(statement)
    # The parsed plan first: a write to a table that does not exist is refused as a write.
    return plans.why_not(parsed) or plans.why_not(state.executePlan(parsed, _skip(session)).analyzed())


def _skip(session: SparkSession) -> Any:
    """Return the execution mode in which commands are not run (as EXPLAIN does it)."""
    jvm: Any = session.sparkContext._jvm
    mode = getattr(jvm.org.apache.spark.sql.execution, "CommandExecutionMode$")
    return getattr(mode, "MODULE$").SKIP()


class _Plans:
    """Looks at the nodes of one session's plans."""

    def __init__(self, session: SparkSession) -> None:
        """Look the classes up that nodes are held against."""
        jvm: Any = session.sparkContext._jvm
        load = jvm.java.lang.Class.forName
        self._statements = [load(name) for name in _STATEMENTS]
        self._plan = load(f"{_CATALYST}plans.QueryPlan")
        self._subquery = load(f"{_CATALYST}expressions.PlanExpression")

    def why_not(self, plan: Any) -> str | None:
        """Return what a plan does besides reading, or None."""
        return next((reason for node in self._walk(plan) if (reason := self._acts(node)) is not None), None)

    def _walk(self, plan: Any) -> Iterator[Any]:
        """Yield the nodes of a plan, of every subquery in it, and all their expressions."""
        pending = [plan]
        while pending:
            node = pending.pop()
            yield node
            pending += _listed(node.children())
            if self._plan.isInstance(node):
                pending += _listed(node.expressions())
            elif self._subquery.isInstance(node):
                pending.append(node.plan())

    def _acts(self, node: Any) -> str | None:
        name = str(node.getClass().getSimpleName()).rstrip("$")
        if name in _ACTING or name in _ACTING_FUNCTIONS:
            return _ACTING.get(name) or _ACTING_FUNCTIONS[name]
        if not any(each.isInstance(node) for each in self._statements):
            return None
        if name.startswith(("Show", "Describe")) or name == "ExplainCommand":
            return None
        return f"is not a query ({name.removesuffix('Command').removesuffix('Statement')})"


def _listed(sequence: Any) -> list[Any]:
    return [sequence.apply(index) for index in range(sequence.size())]
