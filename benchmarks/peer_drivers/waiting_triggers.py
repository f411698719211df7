"""Triggers of one package in one event loop, as in Airflow's triggerer. Prints figures as JSON.

    python waiting_triggers.py TRIGGER BATCHES SETTLE_SECONDS MEASURE_SECONDS

TRIGGER is a function of this file; `nothing` only watches the loop, to measure the machine itself. It prints "steady"
when the first of these are over, and goes on until the others are. It runs in the environment of the package, so it
needs only Airflow and that package.
"""

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

_TICK_SECONDS = 0.02
_DAY_SECONDS = 86_400
# Logs also go to standard output.
_out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def greennode() -> Callable[[str], Any]:
    """This project's."""
    from greennode_airflow.triggers import GreenNodeBatchTrigger  # noqa: PLC0415 - it is not in the peers' environments

    return lambda batch_id: GreenNodeBatchTrigger(
        "greennode_bench", batch_id, time.time() + _DAY_SECONDS, "cancel", ["COMPLETED"]
    )


def openai() -> Callable[[str], Any]:
    """That of apache-airflow-providers-openai."""
    from airflow.providers.openai.triggers.openai import OpenAIBatchTrigger  # noqa: PLC0415 - as above

    return lambda batch_id: OpenAIBatchTrigger(
        conn_id="openai_bench", batch_id=batch_id, poll_interval=60, timeout=_DAY_SECONDS
    )


def common_ai() -> Callable[[str], Any]:
    """That of apache-airflow-providers-common-ai."""
    from airflow.providers.common.ai.triggers.llm_batch import LLMBatchTrigger  # noqa: PLC0415 - as above

    return lambda batch_id: LLMBatchTrigger(
        llm_conn_id="llm_bench",
        adapter="openai",
        batch_id=batch_id,
        poll_interval=60,
        end_time=time.time() + _DAY_SECONDS,
        cancel_on_kill=False,
        cancel_on_timeout=False,
    )


async def _main(name: str, batches: int, settle_seconds: int, measure_seconds: int) -> None:
    noticed: dict[str, float] = {}
    lags: list[float] = []
    waits = []
    if name != "nothing":
        make = globals()[name]()

        async def wait(batch_id: str) -> None:
            async for _event in make(batch_id).run():
                noticed[batch_id] = time.time()
                return

        waits = [asyncio.ensure_future(wait(f"batch_{number:06}")) for number in range(batches)]

    async def tick() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(_TICK_SECONDS)
            lags.append(max(0.0, time.perf_counter() - before - _TICK_SECONDS))

    await asyncio.sleep(settle_seconds)
    _say("steady")
    ticking = asyncio.ensure_future(tick())
    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.sleep(measure_seconds)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    ticking.cancel()
    lags.sort()
    failures = [repr(one.exception()) for one in waits if one.done() and not one.cancelled() and one.exception()]
    figures = {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "lag_p99": lags[int(len(lags) * 0.99)],
        "lag_max": lags[-1],
        "noticed": noticed,
        "failures": failures[:3],
    }
    _say(json.dumps(figures))


def _say(line: str) -> None:
    print(line, file=_out, flush=True)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], *(int(argument) for argument in sys.argv[2:5])))
