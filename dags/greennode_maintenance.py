"""
# Maintenance: remove old runs' files from staging

Every day, this DAG removes from the staging area the files of finished runs that have not changed for 30 days; their
reports stay. It never touches a run that is running or queued, nor a folder that is not a run's. Set the days with
`[greennode] staging_retention_days` (`AIRFLOW__GREENNODE__STAGING_RETENTION_DAYS`); 0 keeps everything.

The answers are in your tables and stay there. A run whose files are removed cannot be cleared and run again: that
would pay for its rows again, so it is refused. Start a new run instead.

Trigger it by hand with *Dry run* to see in the log what it would remove.
"""

from airflow.sdk import DAG, Param

from greennode_airflow.operators.clean_staging import GreenNodeCleanStagingOperator
from greennode_airflow.pipeline import described

with DAG(
    dag_id="greennode_maintenance",
    schedule="@daily",
    catchup=False,
    max_active_runs=1,
    **described(__doc__),
    tags=["greennode"],
    params={
        "dry_run": Param(
            False,
            type="boolean",
            title="Dry run",
            description="List the runs that would be removed in the log; remove nothing.",
        ),
    },
) as dag:
    GreenNodeCleanStagingOperator(task_id="clean_staging", strict_conf=True)
