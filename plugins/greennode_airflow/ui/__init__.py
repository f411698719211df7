"""The page "GreenNode batches" in Airflow's UI.

plugin declares it; app has its routes, access who may see and do what, airflow_runs what Airflow knows of runs, views
what is sent to the browser, connections the way to GreenNode. static/ is the page itself: plain HTML, CSS and modules.
"""

PAGE_PREFIX = "/greennode"
"""Where the API server has the page."""
PAGE_ROUTE = "greennode-batches"
"""Its place in Airflow's UI: /plugin/greennode-batches."""
