#!/usr/bin/env bash
# Run once, when PostgreSQL makes its data folder: a warehouse with the sample tables.
set -euo pipefail
run() { psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$1"; }
echo 'CREATE DATABASE warehouse' | run postgres
for schema in /samples/*/schema.sql; do
    run warehouse <"$schema"
done
for lines in /samples/*/*.jsonl; do
    table=$(sed -n 's/^CREATE TABLE IF NOT EXISTS \(\w*\).*/\1/p' "$(dirname "$lines")/schema.sql" | head -1)
    # Quote and delimiter are characters that JSON never holds raw, so each line is one value.
    run warehouse <<END
CREATE TEMPORARY TABLE line (content json);
COPY line FROM '$lines' WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02');
INSERT INTO $table SELECT row.* FROM line, json_populate_record(NULL::$table, line.content) AS row;
END
done
