"""Waiting without a worker: one poller for all deferred batches of a connection.

poller         one loop for each connection and event loop polls all batches that triggers wait for
waiter         one trigger that waits at a poller
shared_client  one client of a connection for all triggers of an event loop
per_loop       objects that event loops cannot share, one for each of them
killed_tasks   Airflow's states of tasks whose triggers are killed
"""
