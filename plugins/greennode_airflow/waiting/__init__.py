"""Waiting without a worker: one poller for all deferred batches of a connection."""
