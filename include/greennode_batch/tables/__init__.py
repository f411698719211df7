"""SQL tables as targets: one TableTarget for all databases, and one Dialect per kind of database.

table_target        TableTarget: create, check, upsert and look up rows
open_table          picks the dialect for a connection
sql_dialect         Dialect: the base class, with SQL that most databases share
postgres            PostgreSQL, by COPY
postgres_copy       Arrow tables into and out of PostgreSQL's COPY
postgres_types      column types of PostgreSQL, and which values fit them
sqlite              SQLite
sqlalchemy_dialect  any other database, through its SQLAlchemy dialect
sqlalchemy_types    column types and values for SQLAlchemy
table_check         checks whether an existing table fits a job
table_proof         tries what a run writes, and rolls it back
database_errors     what a database's error says, and what helps
carried_check       finds values of carried columns that the table refuses
answer_trial        finds answers that the table refuses
trial_rows          finds rows that a temporary table with the target's types refuses
table_columns       Column, Fit, and quoting of names
standing_rows       which rows of the table an upsert leaves as they are
typed_rows          rows from a driver, converted to the types of staging
text_hashes         64 bits of each text
fingerprint         order-independent fingerprints of rows
key_check           finds keys that the table takes for one, or cannot hold
key_values          KeyValues: kinds, lengths and range of a key column's values
key_sample          KeySample: the first keys of a long list, for messages
"""
