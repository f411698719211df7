"""How runs stand, for people to look at. It reads staging and asks the server, and changes neither.

staged_dags    which folders of staging belong to which DAG
staged_run     a run's plan, receipts and report (file_cache: each read again only if it was written since)
run_figures    how far a run is, and what it has used
live_batches   what the server says of batches under way
failed_rows    which rows have no answer, and why (shown_text: a value of a row, cut)
answer_sample  some rows that have one
cancel         ends batches for somebody who asks for it
"""
