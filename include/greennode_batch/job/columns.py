"""The columns of a target that a job does not name itself."""

RESULT_COLUMNS = (
    "status",
    "error",
    "finish_reason",
    "reasoning",
    "model",
    "prompt_tokens",
    "completion_tokens",
    "custom_id",
    "batch_id",
    "run_id",
    "completed_at",
)
"""Columns that every target has after the key, the carried columns and the answer."""

JOB_ID = "greennode_job"
"""The column that says whose a row is; NULL where nobody has said it yet."""

ORDER = "greennode_order"
"""The column that says which of two runs is the later one, as `run_order` writes it."""

OWNER_COLUMNS = (JOB_ID, ORDER, "greennode_final")
"""Columns that follow these: which job wrote the row, for what moment, and whether its outcome is final.

A table that was made by an earlier version may lack them. Its rows are then told apart by `run_id` alone.
"""

SAMPLE = "sample"
"""The column that every target has after the carried ones where a job asks for several samples."""
