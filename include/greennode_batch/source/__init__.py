"""Rows of a query or of files, in batches of columns.

rows             a batch of rows, and the rows of a source with their column names
column_types     the Arrow types that every target can store, one type per column for all batches
value_limits     which values a column of a target does not hold as they are
exact_json       JSON whose numbers keep all their digits
sql              rows of a query
postgres_values  values of PostgreSQL, exact, and the types of a query's columns
postgres_texts   PostgreSQL's texts for arrays, ranges, intervals, money and bytes
sqlite_types     the types that SQLite declares
sql_connection   a database connection from the environment
files            rows of a file or of a folder of files
formats/         how each file format is listed, read and typed
partition        one of the parts that separate tasks read
sql_partition    the part of a query that one task reads
"""
