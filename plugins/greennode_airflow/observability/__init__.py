"""What you can monitor from outside.

metrics        metrics for the StatsD or OpenTelemetry server that Airflow's own metrics go to
metric_events  which metric each event emits, once
lineage        a job's datasets, for OpenLineage
assets         a job's targets, as Airflow assets
alerts         a deadline for runs that take too long
links          from a task to its batch, its run's page and its files
shard_state    the state of each mapped shard, in Airflow's task state store
"""
