"""The state of runs, for people to read. It reads staging and polls the server, and changes neither.

staged_dags    which folders of staging belong to which DAG
staged_run     a run's plan, receipts and report (file_cache: each file is read again only if it has changed)
run_figures    how far a run is, and what it has used
live_batches   what the server reports of batches under way
failed_rows    which rows have no answer, and why (shown_text: a value of a row, cut to length)
answer_sample  some rows that have one
cancel         cancels batches when a person asks for it
"""
