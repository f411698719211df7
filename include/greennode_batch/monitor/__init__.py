"""The overview: how runs stand, for people to look at. It reads staging and asks the server, and changes neither.

staged_dags says whose folders there are, run_view adds up one run from its plan and receipts (seen_files: each read
again only if it was written since), live_batches has what the server says of what is under way, failed_rows shows
which rows have no answer and why, cancel ends batches for somebody who asks for it.
"""
