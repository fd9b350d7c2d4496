"""What of BigQuery's SQL is let through: the kinds of nodes that are known to give BigQuery's answer on DuckDB.

A list of what is allowed, not of what is forbidden: a function that nobody compared is refused, never guessed.
"""

from __future__ import annotations

from sqlglot import exp

from polyexpose_spark.local.bigquery.errors import invalid_query, not_implemented
from polyexpose_spark.local.bigquery.sql.functions import NAMED, RULES

CLAUSES = (
    exp.Alias, exp.CTE, exp.Column, exp.ColumnDef, exp.DataType, exp.DataTypeParam, exp.Distinct, exp.Except,
    exp.From, exp.Group, exp.Having, exp.Identifier, exp.Intersect, exp.Join, exp.Limit, exp.Literal, exp.Offset,
    exp.Order, exp.Ordered, exp.Parameter, exp.Paren, exp.Qualify, exp.Select, exp.Star, exp.Subquery, exp.Table,
    exp.TableAlias, exp.Tuple, exp.Union, exp.Unnest, exp.Values, exp.Var, exp.Where, exp.Window, exp.WindowSpec,
    exp.With,
)  # fmt: skip
OPERATORS = (
    exp.Add, exp.And, exp.Between, exp.BitwiseAnd, exp.BitwiseLeftShift, exp.BitwiseNot, exp.BitwiseOr,
    exp.BitwiseRightShift, exp.BitwiseXor, exp.Boolean, exp.Bracket, exp.ByteString, exp.Case, exp.Cast, exp.DPipe,
    exp.Div, exp.Dot, exp.EQ, exp.Exists, exp.GT, exp.GTE, exp.If, exp.In, exp.Interval, exp.Is, exp.LT, exp.LTE,
    exp.Like, exp.Mod, exp.Mul, exp.NEQ, exp.Neg, exp.Not, exp.Null, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Or,
    exp.PropertyEQ, exp.RawString, exp.SafeFunc, exp.Sub, exp.TryCast,
)  # fmt: skip
FUNCTIONS = (
    exp.Abs, exp.AnyValue, exp.ApproxDistinct, exp.Array, exp.ArrayAgg, exp.ArrayConcat, exp.ArraySize,
    exp.ArrayToString, exp.Avg, exp.BitwiseAndAgg, exp.BitwiseCount, exp.BitwiseOrAgg, exp.BitwiseXorAgg, exp.Ceil,
    exp.Coalesce, exp.Concat, exp.Count, exp.CountIf, exp.CumeDist, exp.CurrentDate, exp.CurrentTimestamp, exp.Date,
    exp.DateAdd, exp.DateDiff, exp.DateFromParts, exp.DateSub, exp.DateTrunc, exp.DatetimeAdd, exp.DatetimeDiff,
    exp.DatetimeSub, exp.DatetimeTrunc, exp.DenseRank, exp.EndsWith, exp.Exp, exp.Extract, exp.FirstValue, exp.Floor,
    exp.FormatJson, exp.GenerateDateArray, exp.GenerateSeries, exp.Greatest, exp.GroupConcat, exp.Hex, exp.IgnoreNulls,
    exp.IntDiv, exp.JSONExtract, exp.JSONExtractScalar, exp.JSONFormat, exp.JSONPath, exp.JSONPathKey,
    exp.JSONPathRoot, exp.JSONPathSubscript, exp.Lag, exp.LastDay, exp.LastValue, exp.Lead, exp.Least, exp.Length,
    exp.Ln, exp.LogicalAnd, exp.LogicalOr, exp.Lower, exp.LowerHex, exp.MD5, exp.MD5Digest, exp.Max, exp.Min,
    exp.Normalize, exp.NthValue, exp.Ntile, exp.Nullif, exp.ParseJSON, exp.PercentRank, exp.Pow, exp.Rank,
    exp.RegexpExtract, exp.RegexpExtractAll, exp.RegexpLike, exp.RegexpReplace, exp.Repeat, exp.Replace, exp.Reverse,
    exp.Round, exp.RowNumber, exp.SHA2, exp.SafeDivide, exp.SessionUser, exp.Sign, exp.Split, exp.Sqrt,
    exp.Stddev, exp.StddevPop, exp.StddevSamp, exp.Variance, exp.VariancePop,
    exp.StartsWith, exp.StrPosition, exp.StrToDate, exp.StrToTime, exp.Struct, exp.Substring, exp.Sum, exp.TimeToStr,
    exp.Timestamp, exp.TimestampAdd, exp.TimestampDiff, exp.TimestampSub, exp.TimestampTrunc, exp.ToBase64,
    exp.FromBase64, exp.Trim, exp.TsOrDsToDatetime, exp.Unhex, exp.Unicode, exp.UnixDate, exp.UnixMicros,
    exp.UnixMillis, exp.UnixSeconds, exp.UnixToTime, exp.Upper, exp.Uuid, exp.WeekStart,
)  # fmt: skip
ALLOWED = frozenset({*CLAUSES, *OPERATORS, *FUNCTIONS, *RULES})
# Keys of a node that change what it means and that no rule takes care of: refused wherever they are set.
REFUSED_KEYS: dict[type[exp.Expression], tuple[str, ...]] = {
    exp.Cast: ("format", "action"),
    exp.TryCast: ("format", "action"),
    exp.Distinct: ("on",),
    exp.Group: ("rollup", "cube", "grouping_sets", "totals", "all"),
    exp.Table: ("version", "pivots", "sample", "when", "only", "partition", "changes", "hints", "system_time"),
    exp.Subquery: ("pivots", "sample"),
    exp.Join: ("hint", "global_", "match_condition"),
    exp.Select: ("sample", "windows", "hint", "into", "connect", "match", "pivots", "distribute", "cluster", "sort"),
    exp.Star: ("rename",),
    exp.Round: ("truncate", "casts_non_integer_decimals"),
    exp.StrPosition: ("position", "occurrence"),
    exp.RegexpExtract: ("position", "occurrence", "parameters"),
    exp.RegexpReplace: ("position", "occurrence"),
    exp.SetOperation: ("by_name", "side", "kind", "on"),
    exp.TimestampTrunc: ("zone",),
    exp.DateTrunc: ("zone",),
    exp.Length: ("encoding",),
    exp.Interval: (),
}


def check_allowed(tree: exp.Expression) -> None:
    """Raise ApiError 501 for the first node that is not known to give BigQuery's answer."""
    for node in tree.walk():
        kind = type(node)
        if kind is exp.Anonymous:
            if node.name.upper() not in NAMED:
                raise not_implemented(f"The function {node.name.upper()}")
            continue
        if isinstance(node, exp.Placeholder):
            raise invalid_query("Positional parameters and named ones cannot be mixed")
        if kind not in ALLOWED:
            raise not_implemented(f"{node.sql('bigquery')[:120]} ({kind.__name__})")
        for base, keys in REFUSED_KEYS.items():
            if isinstance(node, base) and any(node.args.get(k) for k in keys):
                raise not_implemented(f"This form of {kind.__name__}: {node.sql('bigquery')[:120]}")
