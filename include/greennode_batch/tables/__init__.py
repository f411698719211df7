"""SQL tables: one TableTarget, one Dialect a kind of database (open_table names them)."""
