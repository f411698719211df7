"""path -> source_files -> parquet_rows, csv_rows or json_rows -> declared_types, common_types -> file_source."""
