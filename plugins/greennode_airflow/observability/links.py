"""Links: from a task in Airflow's UI to its batch at GreenNode, to its run's page, and to its files.

Airflow asks for them whenever a task ends or is deferred, from a new operator object: so they use stored values only.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.configuration import conf

from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.runtime.runs import group_of, staging_root
from greennode_airflow.runtime.shard_groups import shards_in
from greennode_airflow.ui import PAGE_PREFIX, PAGE_ROUTE, report_path
from greennode_batch.staging.folders import ShardFolder
from greennode_batch.state.receipts import read_receipt
from greennode_batch.state.run_identity import find_run
from greennode_batch.state.split import parts_of

log = logging.getLogger(__name__)

_NOTHING = ""

Told = Callable[..., str]


def _or_nothing(tell: Told) -> Told:
    """A link that cannot be made is left out: the task has reported the error, and its outcome does not change."""

    @functools.wraps(tell)
    def told(self: BaseOperatorLink, operator: BaseOperator, *, ti_key: Any) -> str:
        try:
            return tell(self, operator, ti_key=ti_key)
        except Exception as error:  # noqa: BLE001 - see above
            log.info("There is no link %r: %s", self.name, type(error).__name__)
            return _NOTHING

    return told


class BatchLink(BaseOperatorLink):
    """To the task's batch, by the connection's `batch_url`; without one, to GreenNode's console if it is GreenNode's.

    If the task has several, to the first; the run's page has them all.
    """

    name = "Batch at GreenNode"

    @_or_nothing
    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """The link, or nothing while there is no batch."""
        batch_id, host = getattr(operator, "batch_id", None), None
        for part in [part for shard in _shards_of(operator) for part in parts_of(shard)]:
            receipt = read_receipt(part)
            if receipt is not None and receipt.batch_id is not None:
                batch_id, host = receipt.batch_id, receipt.server
                break
        if not batch_id:
            return _NOTHING
        template = GreenNodeHook(getattr(operator, "greennode_conn_id")).batch_url(host)  # noqa: B009 - not all have it
        return template.replace("{batch_id}", quote(batch_id, safe="")) if template else _NOTHING


class RunLink(BaseOperatorLink):
    """To the page of the task's run: progress, cost, failures, the report."""

    name = "Run and report"
    part: ClassVar[str] = ""

    @_or_nothing
    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """The link, or nothing for a task outside of a job's pipeline."""
        page = _run_page(operator, ti_key)
        return f"{page}{self.part}" if page else _NOTHING


class StagingLink(RunLink):
    """To the part of that page that names the folder with the run's files."""

    name = "Staging folder"
    part = "#report"


class ReportLink(BaseOperatorLink):
    """To the page that a task has made, as Airflow's API server shows it."""

    name = "Report"

    @_or_nothing
    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """The link, or nothing while there is no page."""
        group, name = group_of(operator, ti_key.map_index), str(getattr(operator, "report_name"))  # noqa: B009
        if not (find_run(staging_root(), ti_key.dag_id, ti_key.run_id, group=group).path / name).exists():
            return _NOTHING
        return f"{_base_url()}{report_path(ti_key.dag_id, ti_key.run_id, group, name)}"


SHARD_LINKS = (BatchLink(), RunLink(), StagingLink())
"""Of tasks that are mapped over shards."""
RUN_LINKS = (RunLink(), StagingLink())
"""Of a run's own tasks."""


def _shards_of(operator: BaseOperator) -> list[ShardFolder]:
    group = getattr(operator, "shard", None)
    return [] if group is None else shards_in(group)


def _run_page(operator: BaseOperator, ti_key: Any) -> str:
    group = group_of(operator, ti_key.map_index)
    if shards := _shards_of(operator):
        # …attempt_1.submit_batch: the group of an attempt is inside the job's.
        group = group.rpartition(".")[0]
        run = find_run(staging_root(), ti_key.dag_id, ti_key.run_id, group=group)
        if not str(shards[0]).startswith(f"{run}/"):
            return _NOTHING
    elif getattr(operator, "job", None) is None:
        return _NOTHING
    query = {"dag_id": ti_key.dag_id, "run_id": ti_key.run_id, **({"group": group} if group else {})}
    return f"{_base_url()}/plugin/{PAGE_ROUTE}{PAGE_PREFIX}/run?{urlencode(query)}"


def _base_url() -> str:
    return (conf.get("api", "base_url", fallback="") or "").rstrip("/")
