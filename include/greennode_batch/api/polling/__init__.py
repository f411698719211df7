"""When to poll a batch, and which batches next. The clock is an argument everywhere; nothing here does I/O.

polling        when to poll one batch again
pace           how fast a batch goes, from the counts of its polls
watch          what is known of one batch that is waited for
poll_schedule  all batches that are waited for at one API, and which polls are due
poll_plan      which of these to poll by pages of the list, and which one by one
rate_limiter   how many calls a connection may make
"""
