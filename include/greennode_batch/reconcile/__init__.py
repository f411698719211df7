"""Reconcile a run: source = shards = results = target, by id.

report           the report of a run, or an error that names what does not add up
staged           checks whether rows, shards and results agree in staging
attempt_tally    adds up what each attempt sent and used
written          WrittenRows: a run's rows in a target; TableRows for tables
written_files    FileRows and DatasetRows: a run's rows in Parquet files
written_targets  opens the written rows of each target, and cleans up datasets
differences      finds which rows differ, by key
removals         how many rows later runs of the job have removed
record_answers   writes the answer cache for the next run
"""
