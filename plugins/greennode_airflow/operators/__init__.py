"""One operator a step: build, submit, collect, join, report; and cancel and delete for a batch by its id."""

from greennode_airflow.operators.batch import (
    GreenNodeCancelBatchOperator,
    GreenNodeCollectResultsOperator,
    GreenNodeDeleteBatchOperator,
    GreenNodeSubmitBatchOperator,
)
from greennode_airflow.operators.build import GreenNodeBuildRequestsOperator
from greennode_airflow.operators.table import GreenNodeJoinResultsOperator, GreenNodeReportOperator

__all__ = [
    "GreenNodeBuildRequestsOperator",
    "GreenNodeCancelBatchOperator",
    "GreenNodeCollectResultsOperator",
    "GreenNodeDeleteBatchOperator",
    "GreenNodeJoinResultsOperator",
    "GreenNodeReportOperator",
    "GreenNodeSubmitBatchOperator",
]
