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

SAMPLE = "sample"
"""The column that every target has after the carried ones where a job asks for several samples."""
