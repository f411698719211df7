"""The page "GreenNode batches" in Airflow's UI.

plugin            declares the page to Airflow
app               its routes
access            who may see and do what
airflow_runs      Airflow's own data of runs and tasks
audit_log         what people did to them
task_logs         the errors in their logs
known_runs        combines these, staging and the server into the facts of a job
state_row         a table of states: when it holds, what it says, what to do next
run_states        the table of runs
task_states       the table of tasks
batch_states      the table of batches
views             the data for the browser
page_connections  the page's connections to GreenNode
reports           the pages that tasks have made
manual            turns the project's docs into pages
connection_test   makes Airflow's Test button work
static/           the page itself: plain HTML, CSS and modules
"""

from urllib.parse import urlencode

PAGE_PREFIX = "/greennode"
"""The page's path on the API server."""
PAGE_ROUTE = "greennode-batches"
"""Its place in Airflow's UI: /plugin/greennode-batches."""
MANUAL_ROUTE = "greennode-manual"
"""The same for the manual."""
RUN_ROUTE = "greennode-run"
"""The same for its tab on a run's page."""
DAG_ROUTE = "greennode-dag"
"""The same for its tab on a DAG's page: the DAG's runs."""


def report_path(dag_id: str, run_id: str, group: str, name: str) -> str:
    """The path of a run's report, below Airflow's base URL."""
    query = {"dag_id": dag_id, "run_id": run_id, **({"group": group} if group else {}), "name": name}
    return f"{PAGE_PREFIX}/report?{urlencode(query)}"
