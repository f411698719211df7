"""What a task needs from its run: its folder, its source, its targets, their databases.

runs              the run that a task belongs to, and the folder of its files
shard_groups      which shards each instance of a mapped task takes
shard_steps       sends the shards of a task, and polls their batches
source_access     opens a job's source with Airflow's connections
target_access     opens a job's targets with Airflow's connections
databases         an Airflow connection -> a DB-API connection or a table
addresses         where tables and files are, by the names that others use
dataset_paths     the parts of a job's targets that Airflow renders
template_values   what a run gives the templates of a job, and an error for what it lacks
staged_rows       the rows that a function returned, as a file in staging
answer_frame      the answers that a run's result refers to, as a DataFrame
run_outcome       the outcome of a run, by the states of its tasks
airflow_features  what only some of the supported versions of Airflow have
"""
