"""The Airflow plugin, found by its entry point `airflow.plugins`."""

from airflow.plugins_manager import AirflowPlugin


class GreenNodePlugin(AirflowPlugin):
    """A link to GreenNode's article on batch inference, in Airflow's Docs menu."""

    name = "greennode"
    external_views = [  # noqa: RUF012 - Airflow's own declaration
        {
            "name": "GreenNode batch inference",
            "href": "https://helpdesk.greennode.ai/portal/en/kb/articles/batch-inference",
            "destination": "nav",
            "category": "docs",
            "url_route": None,
        }
    ]
