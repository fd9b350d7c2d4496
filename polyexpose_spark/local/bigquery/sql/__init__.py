"""BigQuery's SQL on DuckDB: statements one by one, names, types and functions translated or refused."""
