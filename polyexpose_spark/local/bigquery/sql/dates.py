"""Rules for DATE, DATETIME and TIMESTAMP."""

from __future__ import annotations

from sqlglot import exp

from polyexpose_spark.local.bigquery.errors import invalid_query, not_implemented
from polyexpose_spark.local.bigquery.sql.rules import Context, cast, duck, rule

TIMESTAMPTZ = "TIMESTAMP WITH TIME ZONE"
FIXED_UNITS = ("MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY")
# Elements that mean the same in both, for years 1000 to 9999.
FORMAT_ELEMENTS = frozenset("YmdHMSjFTyBbAaIpe%")
PARTS = {
    "YEAR": "year", "MONTH": "month", "DAY": "day", "HOUR": "hour", "MINUTE": "minute", "SECOND": "second",
    "QUARTER": "quarter", "DAYOFYEAR": "dayofyear", "ISOWEEK": "week", "ISOYEAR": "isoyear",
}  # fmt: skip


def _unit(node: exp.Expression) -> str:
    unit = node.args.get("unit")
    if isinstance(unit, exp.WeekStart):
        return f"WEEK({unit.name.upper()})"
    return str(unit.name if unit is not None else "DAY").upper()


@rule(exp.UnixToTime)
def from_unix(node: exp.Expression, context: Context) -> exp.Expression:
    """TIMESTAMP_SECONDS, _MILLIS and _MICROS give TIMESTAMP (sqlglot: without zone)."""
    scale = int(node.args["scale"].name) if node.args.get("scale") else 0
    return duck(f"make_timestamptz(CAST(:x AS BIGINT) * {10 ** (6 - scale)})", x=node.this)


@rule(exp.UnixSeconds, exp.UnixMillis, exp.UnixMicros)
def to_unix(node: exp.Expression, context: Context) -> exp.Expression:
    """Whole units since 1970, towards the past."""
    unit = 1_000_000 if isinstance(node, exp.UnixSeconds) else 1_000 if isinstance(node, exp.UnixMillis) else 1
    if unit == 1:
        return duck("epoch_us(:x)", x=node.this)
    return duck(f"(epoch_us(:x) - ((epoch_us(:x) % {unit}) + {unit}) % {unit}) // {unit}", x=node.this)


@rule(exp.TimestampDiff)
def timestamp_diff(node: exp.Expression, context: Context) -> exp.Expression:
    """Whole units between two times (sqlglot: boundaries crossed)."""
    unit = _unit(node)
    if unit not in FIXED_UNITS:
        raise invalid_query(f"TIMESTAMP_DIFF does not support the {unit} date part")
    for side in (node.this, node.expression):
        if context.types.of(side) != TIMESTAMPTZ:
            raise not_implemented("TIMESTAMP_DIFF of anything but TIMESTAMP")
    return duck(f"date_sub('{unit.lower()}', :b, :a)", a=node.this, b=node.expression)


@rule(exp.DateDiff)
def date_diff(node: exp.Expression, context: Context) -> exp.Expression:
    """Boundaries crossed between two dates."""
    _expect(context, node.this, "DATE", "DATE_DIFF")
    _expect(context, node.expression, "DATE", "DATE_DIFF")
    return _boundaries(node)


@rule(exp.DatetimeDiff)
def datetime_diff(node: exp.Expression, context: Context) -> exp.Expression:
    """Boundaries crossed between two times without zone."""
    _expect(context, node.this, "TIMESTAMP", "DATETIME_DIFF")
    _expect(context, node.expression, "TIMESTAMP", "DATETIME_DIFF")
    return _boundaries(node)


def _boundaries(node: exp.Expression) -> exp.Expression:
    unit = _unit(node)
    a, b = node.this, node.expression
    if unit in ("WEEK", "WEEK(SUNDAY)"):
        # DuckDB's weeks start on Monday: shift Sunday onto it.
        return _weeks(duck(":x + INTERVAL 1 DAY", x=a), duck(":x + INTERVAL 1 DAY", x=b))
    if unit in ("ISOWEEK", "WEEK(MONDAY)"):
        return _weeks(a, b)
    if unit not in (*FIXED_UNITS, "MONTH", "QUARTER", "YEAR"):
        raise not_implemented(f"A difference in {unit}")
    return duck(f"date_diff('{unit.lower()}', :b, :a)", a=a, b=b)


def _weeks(a: exp.Expression, b: exp.Expression) -> exp.Expression:
    # date_diff('week') of DuckDB counts spans of 7 days, not boundaries.
    return duck("date_diff('day', date_trunc('week', :b), date_trunc('week', :a)) // 7", a=a, b=b)


@rule(exp.DateTrunc, exp.TimestampTrunc, exp.DatetimeTrunc)
def truncate(node: exp.Expression, context: Context) -> exp.Expression:
    """The type of the argument stays; weeks start on Sunday unless said otherwise."""
    kind = context.types.of(node.this)
    if kind not in ("DATE", "TIMESTAMP", TIMESTAMPTZ):
        raise invalid_query(f"Cannot truncate a value of the type {kind}")
    unit = _unit(node)
    if unit in ("WEEK", "WEEK(SUNDAY)"):
        inner = duck("date_trunc('week', :x + INTERVAL 1 DAY) - INTERVAL 1 DAY", x=node.this)
    elif unit in ("ISOWEEK", "WEEK(MONDAY)"):
        inner = duck("date_trunc('week', :x)", x=node.this)
    elif unit in (*FIXED_UNITS, "MONTH", "QUARTER", "YEAR"):
        inner = duck(f"date_trunc('{unit.lower()}', :x)", x=node.this)
    else:
        raise not_implemented(f"Truncation to {unit}")
    return cast(inner, kind)


@rule(exp.DateAdd, exp.DateSub, exp.TimestampAdd, exp.TimestampSub, exp.DatetimeAdd, exp.DatetimeSub)
def shift(node: exp.Expression, context: Context) -> exp.Expression:
    """Add or take away an interval; the type of the first argument stays."""
    kind = context.types.of(node.this)
    unit = _unit(node).split("(")[0]
    name = type(node).__name__
    months = ("MONTH", "QUARTER", "YEAR", "WEEK")
    wanted = {"Date": ("DATE",), "Datetime": ("TIMESTAMP",), "Timestamp": (TIMESTAMPTZ,)}[name[:-3]]
    units = {
        "Date": ("DAY", *months), "Datetime": (*FIXED_UNITS, *months), "Timestamp": FIXED_UNITS
    }[name[:-3]]  # fmt: skip
    value = cast(node.this, wanted[0]) if _is_text(node.this) else node.this
    if kind not in wanted and not _is_text(node.this):
        raise not_implemented(f"{name} of a value of the type {kind}")
    if unit not in units:
        raise invalid_query(f"{name} does not support the {unit} date part")
    amount = cast(node.expression, "BIGINT")
    sign = "-" if name.endswith("Sub") else "+"
    factor, unit = (3, "MONTH") if unit == "QUARTER" else (1, unit)
    return cast(
        duck(f":x {sign} to_{unit.lower()}s(CAST(:n * {factor} AS {_interval_argument(unit)}))", x=value, n=amount),
        wanted[0],
    )


def _interval_argument(unit: str) -> str:
    return "INTEGER" if unit in ("DAY", "WEEK", "MONTH", "YEAR") else "BIGINT"


def _is_text(node: exp.Expression) -> bool:
    return isinstance(node, exp.Literal) and bool(node.is_string)


def _expect(context: Context, node: exp.Expression, kind: str, function: str) -> None:
    if context.types.of(node) != kind and not _is_text(node):
        raise not_implemented(f"{function} of a value of the type {context.types.of(node)}")
    if _is_text(node):
        node.replace(cast(node.copy(), kind))


@rule(exp.Extract)
def extract(node: exp.Expression, context: Context) -> exp.Expression:
    """Parts of a date; DAYOFWEEK counts from Sunday = 1."""
    part = node.name.upper()
    value = node.expression
    kind = context.types.of(value)
    if kind not in ("DATE", "TIME", "TIMESTAMP", TIMESTAMPTZ):
        raise invalid_query(f"EXTRACT from a value of the type {kind}")
    if part == "DAYOFWEEK":
        return duck("extract('dayofweek' FROM :x) + 1", x=value)
    if part == "DATE":
        return cast(value, "DATE")
    if part == "MILLISECOND":
        return duck("extract('millisecond' FROM :x) % 1000", x=value)
    if part == "MICROSECOND":
        return duck("extract('microsecond' FROM :x) % 1000000", x=value)
    if part not in PARTS:
        raise not_implemented(f"EXTRACT({part} FROM ...)")
    return duck(f"extract('{PARTS[part]}' FROM :x)", x=value)


@rule(exp.Date)
def date(node: exp.Expression, context: Context) -> exp.Expression:
    """DATE(x) and DATE(timestamp, zone)."""
    zone = node.args.get("zone")
    if node.expressions:
        raise not_implemented("This form of DATE()")
    return cast(_local(node.this, zone, context), "DATE")


@rule(exp.TsOrDsToDatetime)
def datetime(node: exp.Expression, context: Context) -> exp.Expression:
    """DATETIME(x)."""
    return cast(node.this, "TIMESTAMP")


@rule(exp.Datetime)
def datetime_zone(node: exp.Expression, context: Context) -> exp.Expression:
    """DATETIME(timestamp, zone)."""
    zone = node.expression
    if context.types.of(node.this) != TIMESTAMPTZ or not isinstance(zone, exp.Literal):
        raise not_implemented("This form of DATETIME()")
    return _local(node.this, zone, context)


def _local(value: exp.Expression, zone: exp.Expression | None, context: Context) -> exp.Expression:
    if zone is None:
        return value
    if context.types.of(value) != TIMESTAMPTZ:
        raise not_implemented("A time zone for a value that is not a TIMESTAMP")
    return duck(":x AT TIME ZONE :z", x=value, z=zone)


@rule(exp.Timestamp)
def timestamp(node: exp.Expression, context: Context) -> exp.Expression:
    """TIMESTAMP(x): the session is in UTC, as BigQuery's default is."""
    zone = node.args.get("zone")
    if zone is not None:
        if context.types.of(node.this) not in ("DATE", "TIMESTAMP"):
            raise not_implemented("TIMESTAMP(text, zone)")
        return duck("CAST(:x AS TIMESTAMP) AT TIME ZONE :z", x=node.this, z=zone)
    return cast(node.this, TIMESTAMPTZ)


def _check_format(node: exp.Expression) -> str:
    format_ = node.args["format"]
    if not _is_text(format_):
        raise not_implemented("A date format that is not a literal")
    text = str(format_.name)
    elements = text.split("%")[1:]
    i = 0
    while i < len(elements):
        if elements[i] == "":
            i += 1  # %%
        elif elements[i][0] not in FORMAT_ELEMENTS:
            raise not_implemented(f"The format element %{elements[i][0]}")
        i += 1
    return text


@rule(exp.TsOrDsToDate, exp.TsOrDsToTimestamp)
def unwrapped(node: exp.Expression, context: Context) -> exp.Expression:
    """What sqlglot wraps the argument of FORMAT_DATE and FORMAT_TIMESTAMP in."""
    kind = "DATE" if isinstance(node, exp.TsOrDsToDate) else "TIMESTAMP"
    return cast(node.this, kind)


@rule(exp.TimeToStr)
def format_time(node: exp.Expression, context: Context) -> exp.Expression:
    """FORMAT_DATE and its kin, for elements that mean the same in both."""
    _check_format(node)
    return duck("strftime(:x, :f)", x=node.this, f=node.args["format"])


@rule(exp.StrToDate)
def parse_date(node: exp.Expression, context: Context) -> exp.Expression:
    """PARSE_DATE."""
    _check_format(node)
    return duck("CAST(strptime(:x, :f) AS DATE)", x=node.this, f=node.args["format"])


@rule(exp.StrToTime)
def parse_timestamp(node: exp.Expression, context: Context) -> exp.Expression:
    """PARSE_TIMESTAMP, in UTC."""
    _check_format(node)
    return duck("CAST(strptime(:x, :f) AS TIMESTAMPTZ)", x=node.this, f=node.args["format"])


@rule(exp.CurrentTimestamp)
def now(node: exp.Expression, context: Context) -> exp.Expression:
    """CURRENT_TIMESTAMP()."""
    return exp.Anonymous(this="now", expressions=[])


@rule(exp.CurrentDate)
def today(node: exp.Expression, context: Context) -> exp.Expression:
    """CURRENT_DATE(), in UTC."""
    if node.this is not None:
        raise not_implemented("CURRENT_DATE with a time zone")
    return duck("CAST(now() AS DATE)")
