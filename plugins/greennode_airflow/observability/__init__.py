"""What can be watched from outside.

metrics        the StatsD or OpenTelemetry metrics that Airflow's own go to
metric_events  which metric each event emits, once
lineage        a job's datasets, for OpenLineage
assets         a job's targets, as Airflow's assets
alerts         a deadline for runs that take too long
links          from a task to its batch, its run's page and its files
shard_state    the state of each mapped shard, in Airflow's task state store
"""
