"""AirflowCase: something that happens to a run on the real Airflow, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from greennode_faults.airflow_scene import Scene
from greennode_faults.case import SUCCEEDED

Act = Callable[[Scene], None]


@dataclass(frozen=True, kw_only=True)
class AirflowCase:
    """One case. `act` starts the run and waits for its end.

    dag_id: the pipeline. quick: one of the few cases of `make test`. alone: it stops something that a run on the other
    lane needs as well. goes_live: requests may be answered live as well. statuses, withheld: as a Case has them.
    """

    group: str
    name: str
    act: Act
    dag_id: str = "faults"
    quick: bool = False
    alone: bool = False
    goes_live: bool = False
    statuses: frozenset[str] = SUCCEEDED
    withheld: bool = False
