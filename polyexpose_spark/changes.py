"""What changed between two snapshots of a table, row-exact, at the cost of the files touched."""
