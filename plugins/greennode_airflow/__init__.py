"""GreenNode batch inference in Airflow.

    hooks           GreenNodeHook: an Airflow connection becomes a client
    operators/      one operator a step
    sensors         GreenNodeBatchSensor: waits for batches
    triggers        GreenNodeBatchTrigger: waits for them in the triggerer
    pipeline        batch_table, batch_table_group: the tasks of a job, wired
    run_result      what a run has come to, for a task behind it
    form            what a person may choose in the trigger form
    failures        which errors fail a task at once
    runtime/        what a task needs of its run
    waiting/        one poller for all deferred batches
    observability/  metrics, lineage, assets, alerts, links
    ui/             the page "GreenNode batches"

This module imports nothing of the package: Airflow loads it in every process to learn what the provider offers.
"""

from typing import Any

import greennode_moved  # noqa: F401 - old module paths stay importable


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
                        "description": (
                            "How the server wants to be spoken to; greennode unless it is another one. What differs "
                            "from it goes into the extra JSON, as the probe prints it: paths, upload_style, "
                            "input_file_type, match_by, list_trust and check_models, and status_words, batch_fields, "
                            "file_fields and result_fields for words and places that are not found by themselves. "
                            "docs/dialects.md explains each."
                        ),
                    },
                    "allow_http_hosts": {
                        "label": "Hosts allowed without TLS",
                        "schema": {"type": ["string", "null"]},
                        "description": "Comma separated. http:// is refused elsewhere, but for this machine itself.",
                    },
                    "keep_remote_files": {
                        "label": "Keep files at GreenNode",
                        "schema": {"type": ["boolean", "null"], "default": False},
                        "description": (
                            "Otherwise a run's requests and results are deleted there once they are safe in staging "
                            "and in the target. A job may say otherwise."
                        ),
                    },
                    "prices": {
                        "label": "Prices of the models",
                        "schema": {"type": ["object", "null"]},
                        "description": (
                            "Real-time list prices per million tokens, from which a run's cost is made: "
                            '{"MODEL": [prompt, completion], "currency": "VND"}. A job may set its own.'
                        ),
                    },
                    "batch_url": {
                        "label": "Link to a batch",
                        "schema": {"type": ["string", "null"]},
                        "description": (
                            "Where people look at a batch, as https://…/{batch_id}. GreenNode's console if empty."
                        ),
                    },
                    "max_batches_in_flight": {
                        "label": "Batches at a time",
                        "schema": {"type": ["integer", "null"], "minimum": 1},
                        "description": (
                            "So many of this connection, over all DAGs, that have not ended. The others wait in line, "
                            "without a worker. Empty: no limit."
                        ),
                    },
                    "max_enqueued_tokens": {
                        "label": "Prompt tokens at a time",
                        "schema": {"type": ["integer", "null"], "minimum": 1},
                        "description": (
                            "So many in the batches that have not ended, as they are estimated; a batch that has more "
                            "goes alone. Empty: no limit."
                        ),
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
                    },
                    "staging_retention_days": {
                        "description": (
                            "How long the files of a finished run stay in staging after they were last used; then the "
                            "DAG greennode_maintenance removes them, but for the report. 0 keeps them for ever."
                        ),
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": None,
                        "default": "30",
                    },
                    "pilot_requests": {
                        "description": (
                            "Where no results of a host and profile were read before in this staging, how many "
                            "requests a run sends first, as a pilot; the others follow once results of it were read. "
                            "0 sends the whole table at once."
                        ),
                        "version_added": "0.2.0",
                        "type": "integer",
                        "example": None,
                        "default": "100",
                    },
                },
            }
        },
    }
