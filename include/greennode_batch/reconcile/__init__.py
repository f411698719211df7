"""Source = shards = results = target, by id.

report           the account of a run, or an error that names what does not add up
staged           whether rows, shards and results agree in staging (attempts: what each attempt sent and used)
written          what a target holds of a run (written_files, written_targets)
differences      which rows differ, by key
record_answers   notes for the next run what a table has answered
"""
