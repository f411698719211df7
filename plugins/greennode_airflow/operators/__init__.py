"""One operator a step.

    part                  reads and renders one part of a large table
    build_requests        table -> shards
    approve               asks a person before a run costs more than the job may spend
    batch                 submits a shard, collects its results; cancels and deletes a batch by its id
    retry                 results -> the shards of the next attempt
    table                 results -> target table; the run's report
    whole_job             all of these as one task, which waits without a worker
    clean_up              removes what a run leaves at GreenNode; the run's outcome

    probe                 finds out how a server speaks
    clean_staging         removes old runs from staging
    evaluation            compares the answers of several models on a page
    mark_near_duplicates  finds near duplicates among rows
    render_page           rows of a query -> a page

    source, query         what operators share that read a job's source, or a query

A DAG file declares all of them, and each task of a run parses it: modules that load Arrow, pandas or a database driver
are imported only when a step runs, so that a task that sends or waits does not load them. Import
GreenNodeApproveSpendOperator from its own module, approve.py, because few jobs have it.
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
from greennode_airflow.operators.whole_job import GreenNodeBatchOperator

__all__ = [
    "GreenNodeBatchOperator",
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
