"""Files of a source: listing them, reading each format, and giving each column one type.

file_listing      the files that a path names, in order, with their format
parquet_rows      rows of a Parquet file
int96_check       whether an old timestamp of Parquet is read exactly
csv_rows          rows of a CSV or TSV file
strict_csv        stops at bytes of CSV that a strict reader refuses
json_rows         rows of a JSON Lines file
python_range      values that Python cannot hold
batch_limits      how many rows and bytes a batch may hold
declared_types    the types that a job declares for columns
common_types      one type for a column that files store differently
"""
