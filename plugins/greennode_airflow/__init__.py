"""GreenNode batch inference in Airflow: hook, operators, sensor, trigger, and the pipeline that wires them.

This module imports nothing of the package: Airflow loads it in every process to learn what the provider offers.
"""

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """What Airflow's provider discovery reads, by the entry point `apache_airflow_provider`."""
    return {
        # Must equal the distribution's name: otherwise Airflow fails to load any provider.
        "package-name": "greennode-airflow",
        "name": "GreenNode",
        "description": "Batch inference with GreenNode: a SQL table in, a SQL table out.",
        "connection-types": [
            {
                "connection-type": "greennode",
                "hook-class-name": "greennode_airflow.hooks.GreenNodeHook",
                "hook-name": "GreenNode",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "login", "port"],
                    "relabeling": {"host": "Base URL", "password": "API key"},
                    "placeholders": {"host": "https://maas-llm-aiplatform-hcm.api.vngcloud.vn/v1"},
                },
                "conn-fields": {
                    "profile": {
                        "label": "API profile",
                        "schema": {"type": ["string", "null"], "default": "greennode"},
                        "description": "How the server wants to be spoken to; greennode unless it is another one.",
                    },
                    "allow_http_hosts": {
                        "label": "Hosts allowed without TLS",
                        "schema": {"type": ["string", "null"]},
                        "description": "Comma separated. http:// is refused elsewhere, but for this machine itself.",
                    },
                },
            }
        ],
        "config": {
            "greennode": {
                "description": "GreenNode batch inference",
                "options": {
                    "staging": {
                        "description": (
                            "Where requests, receipts and results lie between the tasks: a folder that every worker "
                            "reaches, as file:///path or s3://connection@bucket/path."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "s3://aws_default@my-bucket/greennode",
                        "default": "file://{AIRFLOW_HOME}/greennode",
                    }
                },
            }
        },
    }
