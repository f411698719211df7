"""The page "GreenNode batches" in Airflow's UI.

plugin            declares the page to Airflow
app               its routes
access            who may see and do what
airflow_runs      what Airflow knows of runs and tasks
phases            what a run is doing, in words
views             what the browser is sent
page_connections  the page's way to GreenNode
manual            turns the project's docs into pages
connection_test   makes Airflow's Test button work
static/           the page itself: plain HTML, CSS and modules
"""

PAGE_PREFIX = "/greennode"
"""Where the API server has the page."""
PAGE_ROUTE = "greennode-batches"
"""Its place in Airflow's UI: /plugin/greennode-batches."""
MANUAL_ROUTE = "greennode-manual"
"""The same of the manual."""
