"""What a task needs of its run: its folder, its source, its targets, their databases.

runs           the run that a task belongs to, and where its files lie
shard_groups   which shards each instance of a mapped task takes
source_access  opens a job's source with Airflow's connections
target_access  opens a job's targets with Airflow's connections
databases      an Airflow connection -> a DB-API connection or a table
dataset_paths  what Airflow renders of a job's targets
run_outcome    what a run has come to, by the states of its tasks
"""
