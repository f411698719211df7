"""Columns: the columns that every target has, whatever the job declares."""

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
"""Columns of every target, after the key, the carried columns and the answer."""

JOB_ID = "greennode_job"
"""The column with the id of the job that owns the row; NULL if no job has claimed the row yet."""

ORDER = "greennode_order"
"""The column that orders runs: of two runs, the later one has the greater value (see `run_order`)."""

OWNER_COLUMNS = (JOB_ID, ORDER, "greennode_final")
"""Columns after the result columns: which job wrote the row, the run's order, and whether the outcome is final.

A table that an earlier version made may lack them. Its rows are then distinguished by `run_id` alone.
"""

SAMPLE = "sample"
"""The column with the sample's number, after the carried columns; only if the job asks for several samples."""
