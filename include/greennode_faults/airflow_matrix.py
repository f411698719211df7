"""The matrix on the real Airflow: each case is a run, judged as the engine's cases are, by rows and by money."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from greennode_faults import airflow_deadlines, airflow_kills, airflow_marks, airflow_outages, airflow_whole_job
from greennode_faults.airflow_case import AirflowCase
from greennode_faults.airflow_scene import Scene, playing
from greennode_faults.airflow_stage import AirflowStage, airflow_stage
from greennode_faults.case import Case, Outcome
from greennode_faults.stage import ROWS, Ledger, needed, problems_of, with_live_answers
from greennode_local.local_error import LocalError

CASES = (*airflow_kills.cases(), *airflow_marks.cases(), *airflow_whole_job.cases(), *airflow_outages.cases())
ASIDE = (*airflow_kills.long_cases(), *airflow_deadlines.long_cases())
QUICK = tuple(case for case in CASES if case.quick)


def run_airflow(quick: bool, only: str | None = None) -> Iterator[Outcome]:  # noqa: FBT001 - as the command line has it
    """The outcomes of all cases, or of the quick ones, on one deployment that is started for them.

    only: the cases whose group or name holds this text.
    """
    cases, aside = (QUICK, ()) if quick else (CASES, ASIDE)
    cases, aside = _named(cases, only), _named(aside, only)
    if not (cases or aside):
        return
    with airflow_stage() as stage, ThreadPoolExecutor(1) as beside:
        long = [beside.submit(play, stage, case) for case in aside]
        for case in cases:
            if not case.alone:
                yield play(stage, case)
        for outcome in long:
            yield outcome.result()
        for case in cases:
            if case.alone:
                yield play(stage, case)


def play(stage: AirflowStage, case: AirflowCase) -> Outcome:
    """The outcome of one case."""
    began = time.monotonic()
    problems: list[str] = []
    try:
        with playing(stage, case.dag_id) as scene:
            try:
                case.act(scene)
            except LocalError as error:
                problems.append(str(error))
            problems += scene.problems
            return _outcome(scene, case, problems, time.monotonic() - began)
    except LocalError as error:
        # A change to the deployment could not be undone.
        return _failed(case, [*problems, str(error)], time.monotonic() - began)


def _outcome(scene: Scene, case: AirflowCase, problems: list[str], seconds: float) -> Outcome:
    with scene.stage.stack.warehouse() as connection:
        rows = scene.lane.rows(connection)
    ledger: Ledger = scene.lane.emulator.ledger()
    named = Case(group=case.group, name=case.name, statuses=case.statuses, withheld=case.withheld)
    if case.goes_live:
        ledger = with_live_answers(ledger)
    elif ledger["chat_requests_billed"] > 1:
        problems.append("the first request was tried twice")
    problems += problems_of(rows, ledger, scene.stage.wanted, named)
    tries = [task["try_number"] for task in scene.airflow.task_instances(scene.dag_id, scene.run_id)]
    return Outcome(
        case=named,
        rows_in=ROWS,
        rows_out=len(rows),
        needed=needed(ledger),
        billed=ledger["requests_billed"],
        statuses=dict(sorted(Counter(row.status for row in rows).items())),
        starts=max(tries, default=0),
        seconds=seconds,
        problems=tuple(problems),
    )


def _failed(case: AirflowCase, problems: list[str], seconds: float) -> Outcome:
    return Outcome(
        case=Case(group=case.group, name=case.name),
        rows_in=ROWS,
        rows_out=0,
        needed=0,
        billed=0,
        statuses={},
        starts=0,
        seconds=seconds,
        problems=tuple(problems),
    )


def _named(cases: Sequence[AirflowCase], text: str | None) -> tuple[AirflowCase, ...]:
    return tuple(case for case in cases if (text or "") in f"{case.group} {case.name}")
