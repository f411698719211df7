"""One operator a step: read part, build, submit, collect, retry, join, report, clean up; two for a batch by its id.

A DAG file declares all of them, and each task of a run parses it: what loads Arrow, pandas or a database's driver is
imported when a step runs, so that a task that sends or waits goes without. GreenNodeApproveSpendOperator is imported
from its own module, approve.py, for few jobs have it.
"""

from greennode_airflow.operators.batch import (
    GreenNodeCancelBatchOperator,
    GreenNodeCollectResultsOperator,
    GreenNodeDeleteBatchOperator,
    GreenNodeSubmitBatchOperator,
)
from greennode_airflow.operators.build_requests import GreenNodeBuildRequestsOperator
from greennode_airflow.operators.clean_up import GreenNodeCleanUpOperator
from greennode_airflow.operators.evaluation import GreenNodeEvaluationReportOperator
from greennode_airflow.operators.mark_near_duplicates import GreenNodeMarkNearDuplicatesOperator
from greennode_airflow.operators.part import GreenNodeReadPartOperator
from greennode_airflow.operators.render_page import GreenNodePageOperator
from greennode_airflow.operators.retry import GreenNodeBuildRetryOperator
from greennode_airflow.operators.table import GreenNodeJoinResultsOperator, GreenNodeReportOperator

__all__ = [
    "GreenNodeBuildRequestsOperator",
    "GreenNodeBuildRetryOperator",
    "GreenNodeCancelBatchOperator",
    "GreenNodeCleanUpOperator",
    "GreenNodeCollectResultsOperator",
    "GreenNodeDeleteBatchOperator",
    "GreenNodeEvaluationReportOperator",
    "GreenNodeJoinResultsOperator",
    "GreenNodeMarkNearDuplicatesOperator",
    "GreenNodePageOperator",
    "GreenNodeReadPartOperator",
    "GreenNodeReportOperator",
    "GreenNodeSubmitBatchOperator",
]
