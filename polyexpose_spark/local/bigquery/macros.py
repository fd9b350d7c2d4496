"""DuckDB macros for what takes more than one expression. They live in the connection, not in the file."""

from __future__ import annotations

# NUMERIC / NUMERIC, exact and rounded half away from zero; DuckDB's own division goes through DOUBLE. The dividend
# is scaled to a 128-bit integer: beyond 1.7 * 10^20 that is an overflow error, never a wrong digit.
MACROS = (
    "bq_digits(x) AS CAST(replace(CAST(x AS VARCHAR), '.', '') AS HUGEINT)",
    """bq_round_divide(n, d) AS
      (CASE WHEN (n < 0) <> (d < 0) THEN -1 ELSE 1 END)
      * (abs(n) // abs(d) + CASE WHEN abs(n) % abs(d) >= abs(d) - abs(n) % abs(d) THEN 1 ELSE 0 END)""",
    """bq_divide(a, b) AS CAST(
      CAST(bq_round_divide(bq_digits(a) * 1000000000, bq_digits(b)) AS DECIMAL(38,0))
      * CAST('0.000000001' AS DECIMAL(10,9)) AS DECIMAL(38,9))""",
)
