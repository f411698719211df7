"""SQL tables, one class a kind of database."""
