"""GreenNode batch inference in Airflow.

    hooks           GreenNodeHook: an Airflow connection becomes a client
    operators/      one operator a step
    sensors         GreenNodeBatchSensor: waits for batches
    triggers        GreenNodeBatchTrigger: waits for them in the triggerer
    pipeline        batch_table, batch_table_group: the tasks of a job, wired
    batch_task      @task.greennode_batch: a function's rows -> answers
    run_result      the outcome of a run, for a task after it
    form            what a person may choose in the trigger form
    failures        which errors fail a task at once
    runtime/        what a task needs from its run
    waiting/        one poller for all deferred batches
    observability/  metrics, lineage, assets, alerts, links
    ui/             the page "GreenNode batches"

This module imports nothing of the package: Airflow loads it in every process to learn what the provider offers.
"""

from typing import Any

import greennode_moved  # noqa: F401 - old module paths stay importable


def get_provider_info() -> dict[str, Any]:
    """What Airflow's provider discovery reads, through the entry point `apache_airflow_provider`."""
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
                            "The request format of the server; greennode by default. Differences from a profile go "
                            "into the extra JSON, as the probe prints them: paths, upload_style, input_file_type, "
                            "match_by, list_trust and check_models, and status_words, batch_fields, file_fields and "
                            "result_fields for words and fields that are not recognised automatically. "
                            "docs/how-to/dialects.md explains each."
                        ),
                    },
                    "allow_http_hosts": {
                        "label": "Hosts allowed without TLS",
                        "schema": {"type": ["string", "null"]},
                        "description": "Comma separated. Elsewhere http:// is refused, except for this machine itself.",
                    },
                    "keep_remote_files": {
                        "label": "Keep files at GreenNode",
                        "schema": {"type": ["boolean", "null"], "default": False},
                        "description": (
                            "By default, a run's requests and results are deleted there once they are safe in staging "
                            "and in the target. A job can override this."
                        ),
                    },
                    "prices": {
                        "label": "Prices of the models",
                        "schema": {"type": ["object", "null"]},
                        "description": (
                            "Real-time list prices per million tokens, from which a run's cost is calculated: "
                            '{"MODEL": [prompt, completion], "currency": "VND"}. A job can set its own.'
                        ),
                    },
                    "batch_url": {
                        "label": "Link to a batch",
                        "schema": {"type": ["string", "null"]},
                        "description": ("The page of a batch, as https://…/{batch_id}. GreenNode's console if empty."),
                    },
                    "max_batches_in_flight": {
                        "label": "Batches at a time",
                        "schema": {"type": ["integer", "null"], "minimum": 1},
                        "description": (
                            "The most batches of this connection that may be open at a time, over all DAGs. Others "
                            "wait in a queue, without a worker. Empty: no limit."
                        ),
                    },
                    "max_enqueued_tokens": {
                        "label": "Prompt tokens at a time",
                        "schema": {"type": ["integer", "null"], "minimum": 1},
                        "description": (
                            "The most estimated prompt tokens in open batches; a batch with more is sent alone. "
                            "Empty: no limit."
                        ),
                    },
                    "max_concurrency": {
                        "label": "Live requests at a time",
                        "schema": {"type": ["integer", "null"], "minimum": 1},
                        "description": "So many live requests of a task are under way at a time. Empty: 64.",
                    },
                    "max_requests_per_minute": {
                        "label": "Live requests a minute",
                        "schema": {"type": ["integer", "null"], "minimum": 1},
                        "description": "So many live requests begin in a minute, of all tasks. Empty: no limit.",
                    },
                    "max_tokens_per_minute": {
                        "label": "Live tokens a minute",
                        "schema": {"type": ["integer", "null"], "minimum": 1},
                        "description": "So many tokens live answers use in a minute, of all tasks. Empty: no limit.",
                    },
                },
            }
        ],
        "task-decorators": [
            {"name": "greennode_batch", "class-name": "greennode_airflow.batch_task.greennode_batch_task"}
        ],
        "config": {
            "greennode": {
                "description": "GreenNode batch inference",
                "options": {
                    "staging": {
                        "description": (
                            "Where requests, receipts and results are kept between tasks: a folder that all workers "
                            "can reach, as file:///path, s3://connection@bucket/path, gs://… or abfs://…."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "s3://aws_default@my-bucket/greennode",
                        "default": "file://{AIRFLOW_HOME}/greennode",
                    },
                    "staging_retention_days": {
                        "description": (
                            "How long the files of a finished run stay in staging after their last use; then the DAG "
                            "greennode_maintenance removes them, except the report. 0 keeps them for ever."
                        ),
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": None,
                        "default": "30",
                    },
                    "pilot_requests": {
                        "description": (
                            "If no results of a host and profile were read before in this staging, how many requests "
                            "a run sends first, as a pilot; the others follow once its results were read. "
                            "0 sends the whole table at once."
                        ),
                        "version_added": "0.2.0",
                        "type": "integer",
                        "example": None,
                        "default": "100",
                    },
                    "models": {
                        "description": (
                            "Models that the trigger forms suggest beside those of the job, with commas between: the "
                            "ids of the server's list that your team may use. A form takes any other id as well."
                        ),
                        "version_added": "0.2.0",
                        "type": "string",
                        "example": "google/gemma-4-31b-it, qwen/qwen3.6-flash",
                        "default": "",
                    },
                    "task_start_seconds": {
                        "description": (
                            "How long it takes from the end of a task to the start of the next. Live(finish_by=…) "
                            "leaves time for eight starts after the cancel, at most a third of finish_by. Set more "
                            "where each task is a pod."
                        ),
                        "version_added": "0.2.0",
                        "type": "float",
                        "example": None,
                        "default": "15",
                    },
                },
            }
        },
    }
