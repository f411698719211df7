"""
# Probe: find out how the server of a connection speaks

Run it once by hand on a new account. It sends at most 6 chats and 5 batches of two lines, which cost a few tokens,
and finds out how models, files, batches, lists, results, cancel and delete work there. The task's log is the
report. It ends with the profile to put into the connection's extra field. With `Save the profile`, the task writes it
there with Airflow's REST API, if the worker's environment has AIRFLOW_API_TOKEN, or AIRFLOW_API_USERNAME and
AIRFLOW_API_PASSWORD. The API key is neither read nor written.

The raw replies, without the key, are in the folder that the log names last.

Batches may take hours. If some are still open at the end of the wait, the task says so. Clear it later: it continues
and sends nothing twice.
"""

from airflow.sdk import DAG, Param

from greennode_airflow.operators.probe import GreenNodeProbeOperator
from greennode_airflow.pipeline import described

with DAG(
    dag_id="greennode_probe",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    **described(__doc__),
    tags=["greennode"],
    params={
        "connection_id": Param(
            "greennode_default", type="string", title="Connection", description="Of type GreenNode."
        ),
        "model": Param(
            None,
            type=["null", "string"],
            title="Model",
            description="An id of the server's model list. Empty: the first one that may be for chat.",
        ),
        "wait_seconds": Param(
            600, type="integer", minimum=0, title="Wait", description="Seconds to wait for batches to end."
        ),
        "save": Param(
            False,
            type="boolean",
            title="Save the profile",
            description="Write the profile into the connection's extra field; the log shows the change first.",
        ),
    },
) as dag:
    GreenNodeProbeOperator(
        task_id="probe",
        greennode_conn_id="{{ params.connection_id }}",
        model="{{ params.model or '' }}",
        wait_seconds="{{ params.wait_seconds }}",
        save="{{ params.save }}",
        strict_conf=True,
    )
