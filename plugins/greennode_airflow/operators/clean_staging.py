"""GreenNodeCleanStagingOperator: removes old, finished runs from staging."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Context, DagRunState
from airflow.sdk.configuration import conf

from greennode_airflow.failures import fail_without_retry
from greennode_airflow.form import check_conf, declared_names
from greennode_airflow.runtime.runs import is_dry_run, staging_root
from greennode_batch.cleanup.retention import StoredRun, old_runs, remove_run
from greennode_batch.state.run_identity import RunIdentity

if TYPE_CHECKING:
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

_DELETED = "deleted from Airflow"
_OVER = frozenset({DagRunState.SUCCESS.value, DagRunState.FAILED.value, _DELETED})
_DAY_SECONDS = 86_400


class GreenNodeCleanStagingOperator(BaseOperator):
    """Removes the files of runs that are finished and older than `[greennode] staging_retention_days`.

    Airflow says which runs are finished; a run that was deleted there counts as finished. Their reports stay. Returns
    how many runs were removed, or would have been in a dry run.

    strict_conf: whether any key of the run's conf that is not a param of the DAG fails the task; if not, only a
    misspelt `dry_run` does. Nothing is removed then.
    """

    ui_color = "#e3f4ea"

    def __init__(self, *, strict_conf: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.strict_conf = strict_conf
        self.declared = declared_names(self.get_dag())

    @fail_without_retry
    def execute(self, context: Context) -> int:
        """Check all runs, and log a line for each that is old enough."""
        check_conf(context["dag_run"].conf, self.declared, strict=self.strict_conf, fields=("dry_run",))
        days = conf.getint("greennode", "staging_retention_days")
        if days <= 0:
            self.log.info("[greennode] staging_retention_days is %d: staging is kept for ever", days)
            return 0
        root = staging_root()
        now = time.time()
        runs = size = 0
        for old in old_runs(root, before=now - days * _DAY_SECONDS):
            if self._removes(old, context, now):
                runs += 1
                size += old.bytes
        self.log.info("%d runs older than %d days, %.1f MB, in %s", runs, days, size / 1e6, root)
        return runs

    def _removes(self, old: StoredRun, context: Context, now: float) -> bool:
        """Remove a run if it is over; returns whether it was removed."""

        def state() -> str:
            return _state(context["ti"], old.identity)

        found = state()
        if found not in _OVER:
            self.log.info("Left: %s is %s", old.identity, found)
            return False
        verb = "Would remove"
        if not is_dry_run(context):
            verb = "Removed"
            if not remove_run(old.folder, now=now, is_over=lambda: state() in _OVER):
                self.log.info("Left: %s was started again", old.identity)
                return False
        self.log.info("%s: %s (%s, %.1f MB)", verb, old.identity, found, old.bytes / 1e6)
        return True


def _state(task: RuntimeTaskInstanceProtocol, identity: RunIdentity) -> str:
    # Counted first: to ask for the state of a missing run raises an error like any other.
    if not task.get_dr_count(identity.dag_id, run_ids=[identity.run_id]):
        return _DELETED
    # Declared as text, it is an enumeration, which would print as DagRunState.RUNNING.
    return DagRunState(task.get_dagrun_state(identity.dag_id, identity.run_id)).value
