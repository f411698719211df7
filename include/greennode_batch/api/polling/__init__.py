"""When to poll a batch, and which batches next. The clock is an argument everywhere; nothing here does I/O.

polling        when to poll one batch again
pace           how fast a batch progresses, from the counts of its polls
watch          the state of one batch that a task waits for
poll_schedule  all batches of one API that tasks wait for, and which polls are due
poll_plan      which of these to poll by pages of the list, and which one by one
rate_limiter   how many calls a connection may make
"""
