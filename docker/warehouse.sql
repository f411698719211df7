-- Run once, when PostgreSQL makes its data folder: a warehouse with the sample tickets.
CREATE DATABASE warehouse;
\connect warehouse
\i /samples/support_tickets/schema.sql
\i /samples/package_sections/schema.sql
CREATE TEMPORARY TABLE line (content json);
-- Quote and delimiter are characters that JSON never holds raw, so each line is one value.
COPY line FROM '/samples/support_tickets/tickets.jsonl' WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02');
INSERT INTO support_tickets
SELECT ticket.* FROM line, json_populate_record(NULL::support_tickets, line.content) AS ticket;
