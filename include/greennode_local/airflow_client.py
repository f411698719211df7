"""A small client of Airflow's REST API, for the demo and the system tests."""

import time
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from greennode_local.credentials import ADMIN
from greennode_local.local_error import LocalError
from greennode_local.ports import LOOPBACK

DAG_RUN_ENDS = frozenset({"success", "failed"})
COMPONENTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")


class AirflowClient:
    """Calls one API server as the admin user; logs in at the first call."""

    def __init__(self, url: str, password: str) -> None:
        # No proxy from the environment: the server is on the loopback address.
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)
        self._password = password

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def is_healthy(self, *, since: datetime) -> bool:
        """Whether every component has sent a heartbeat after `since`; an earlier run's heartbeats do not count."""
        try:
            answer = self._http.get("/api/v2/monitor/health", timeout=5)
        except httpx.TransportError:
            return False
        if answer.status_code != httpx.codes.OK:
            return False
        parts = answer.json()
        beats = [parts[name].get(f"latest_{name}_heartbeat") for name in COMPONENTS[1:]]
        return all(parts[name]["status"] == "healthy" for name in COMPONENTS) and all(
            beat is not None and datetime.fromisoformat(beat) >= since for beat in beats
        )

    def warm_up(self) -> bool:
        """Make the server build the API that tasks call; it does so at the first call, which takes 4 s of CPU.

        Returns at once; False if the server does not listen yet.
        """
        try:
            self._http.get("/execution/health", timeout=0.2)
        except httpx.ReadTimeout:
            return True  # it has the request and works on it
        except httpx.TransportError:
            return False
        return True

    def wait_for_dags(self, dag_ids: Collection[str], *, since: datetime, seconds: float = 60) -> None:
        """Wait until at least these DAGs were parsed after `since`. An import error ends the wait."""
        deadline = time.monotonic() + seconds
        while missing := set(dag_ids) - self.dags_parsed(since=since):
            if errors := self.import_errors(since=since):
                raise LocalError("Airflow cannot import:\n" + "\n".join(errors))
            if time.monotonic() > deadline:
                raise LocalError(f"DAGs not parsed after {seconds:.0f} s: {', '.join(sorted(missing))}")
            time.sleep(0.2)

    def dags_parsed(self, *, since: datetime) -> set[str]:
        """The ids of the DAGs that were parsed after `since`."""
        dags = self._get("/dags", limit=100)["dags"]
        return {
            dag["dag_id"]
            for dag in dags
            if not dag["is_stale"]
            and dag["last_parsed_time"] is not None
            and datetime.fromisoformat(dag["last_parsed_time"]) >= since
        }

    def import_errors(self, *, since: datetime) -> list[str]:
        """`file: stack trace` of each DAG file that failed after `since`."""
        found = self._get("/importErrors", limit=100)["import_errors"]
        return [
            f"{error['filename']}:\n{error['stack_trace']}"
            for error in found
            if datetime.fromisoformat(error["timestamp"]) >= since
        ]

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler run the DAG."""
        self._call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, *, logical_date: str | None = None) -> str:
        """Start a run of an unpaused DAG; returns its run id. logical_date: for a DAG that has data intervals."""
        body = {"logical_date": logical_date, "conf": dict(conf or {})}
        return str(self._call("POST", f"/dags/{dag_id}/dagRuns", json=body).json()["dag_run_id"])

    def backfill(self, dag_id: str, first: str, last: str, *, backwards: bool, max_active_runs: int) -> int:
        """Start a backfill of the days from the first to the last, as `airflow backfill create` does; its id."""
        body = {
            "dag_id": dag_id,
            "from_date": f"{first}T00:00:00Z",
            "to_date": f"{last}T00:00:00Z",
            "run_backwards": backwards,
            "max_active_runs": max_active_runs,
        }
        return int(self._call("POST", "/backfills", json=body).json()["id"])

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """The runs of a DAG, at most 100, as the API shows them."""
        return list(self._get(f"/dags/{dag_id}/dagRuns", limit=100)["dag_runs"])

    def wait_for_a_run(self, dag_id: str, *, seconds: float) -> str:
        """Wait until something else has started a run of a DAG; returns the id of its latest run."""
        deadline = time.monotonic() + seconds
        while not (runs := self._get(f"/dags/{dag_id}/dagRuns", limit=1, order_by="-id")["dag_runs"]):
            if time.monotonic() > deadline:
                raise LocalError(f"{dag_id} was not started within {seconds:.0f} s")
            time.sleep(0.3)
        return str(runs[0]["dag_run_id"])

    def dag_run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """The run, with its `state`, as the API shows it."""
        return self._get(_run_path(dag_id, run_id))

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """All task instances of the run, mapped ones singly (`task_id`, `map_index`, `state`, `try_number`)."""
        found: list[dict[str, Any]] = []
        while True:
            page = self._get(f"{_run_path(dag_id, run_id)}/taskInstances", limit=100, offset=len(found))
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found

    def states(self, dag_id: str, run_id: str) -> Counter[str]:
        """The number of task instances of the run by state; those without a state count as `none`."""
        return Counter(task["state"] or "none" for task in self.task_instances(dag_id, run_id))

    def wait_for_run(self, dag_id: str, run_id: str, *, seconds: float) -> str:
        """Wait for the end of the run; returns `success` or `failed`."""
        deadline = time.monotonic() + seconds
        while (state := str(self.dag_run(dag_id, run_id)["state"])) not in DAG_RUN_ENDS:
            if time.monotonic() > deadline:
                raise LocalError(f"{dag_id} {run_id} is still {state} after {seconds:.0f} s")
            time.sleep(0.3)
        return state

    def task_log(self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1, try_number: int = 1) -> str:
        """The log of one try, one event a line."""
        path = f"{_task_path(dag_id, run_id, task_id)}/logs/{try_number}"
        content = self._get(path, map_index=map_index, full_content=True)["content"]
        return "\n".join(line if isinstance(line, str) else _log_line(line) for line in content)

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", *, map_index: int = -1) -> Any:
        """The value that a task instance pushed; KeyError if it pushed none."""
        path = f"{_task_path(dag_id, run_id, task_id)}/xcomEntries/{quote(key, safe='')}"
        answer = self._send("GET", f"/api/v2{path}", params={"map_index": map_index, "deserialize": True})
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise KeyError(f"{task_id}[{map_index}] of {run_id} has no XCom {key}")
        return _checked(answer).json()["value"]

    def clear(
        self,
        dag_id: str,
        run_id: str,
        task_ids: Collection[str],
        *,
        downstream: bool = False,
        only_failed: bool = False,
    ) -> list[dict[str, Any]]:
        """Clear tasks of a run, so that they run again; returns the task instances that were cleared."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": list(task_ids),
            "include_downstream": downstream,
            "only_failed": only_failed,
            "reset_dag_runs": True,
        }
        answer = self._call("POST", f"/dags/{dag_id}/clearTaskInstances", json=body).json()
        return list(answer["task_instances"])

    def clear_run(self, dag_id: str, run_id: str, *, only_failed: bool = False) -> None:
        """Clear a run as a user does: all of its tasks, or only the failed ones and those skipped because of them."""
        self._call("POST", f"{_run_path(dag_id, run_id)}/clear", json={"dry_run": False, "only_failed": only_failed})

    def asset_events(self, dag_id: str, run_id: str) -> int:
        """How often a run has reported an asset as new."""
        found = self._get("/assets/events", source_dag_id=dag_id, source_run_id=run_id)
        return int(found["total_entries"])

    def set_state(self, dag_id: str, run_id: str, task_id: str, state: str, *, map_index: int = -1) -> None:
        """Mark a task instance as a user does in the UI."""
        path = (
            f"{_task_path(dag_id, run_id, task_id)}/{map_index}"
            if map_index >= 0
            else _task_path(dag_id, run_id, task_id)
        )
        self._call("PATCH", path, json={"new_state": state})

    def set_run_state(self, dag_id: str, run_id: str, state: str) -> None:
        """Mark a run, with its unfinished tasks, as a user does in the UI."""
        self._call("PATCH", _run_path(dag_id, run_id), json={"state": state})

    def open(self, path: str, **params: Any) -> httpx.Response:
        """Any page of the server, also one of an error, as a logged-in browser gets it; path: from the root."""
        return self._send("GET", path, params=params)

    def put_connection(self, connection_id: str, connection: Mapping[str, object]) -> bool:
        """Store a connection in Airflow's database, where its pages show it.

        A connection to another machine is the user's and stays: returns False. So do extra fields and a description
        that an existing connection has.
        """
        known = self._send("GET", f"/api/v2/connections/{connection_id}")
        body = {"connection_id": connection_id, **connection}
        if known.status_code == httpx.codes.NOT_FOUND:
            self._call("POST", "/connections", json=body)
            return True
        stored = _checked(known).json()
        if LOOPBACK not in str(stored["host"]):
            return False
        kept = {name for name in ("extra", "description") if stored[name] and stored[name] != "{}"}
        changed = {name: value for name, value in body.items() if name not in kept}
        self._call("PATCH", f"/connections/{connection_id}", json=changed)
        return True

    def make_pool(self, name: str, *, slots: int) -> None:
        """Make a pool that counts deferred tasks; an existing pool with that name stays as it is."""
        body = {"name": name, "slots": slots, "include_deferred": True, "description": "GreenNode batches"}
        answer = self._send("POST", "/api/v2/pools", json=body)
        if answer.status_code != httpx.codes.CONFLICT:
            _checked(answer)

    def _get(self, path: str, **params: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._call("GET", path, params=params).json()
        return found

    def _call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return _checked(self._send(method, f"/api/v2{path}", **arguments))

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        if "Authorization" not in self._http.headers:
            login = self._http.post("/auth/token", json={"username": ADMIN, "password": self._password})
            self._http.headers["Authorization"] = f"Bearer {_checked(login).json()['access_token']}"
        return self._http.request(method, path, **arguments)


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_error:
        request = answer.request
        raise LocalError(f"{request.method} {request.url.path}: {answer.status_code} {answer.text[:500]}")
    return answer


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"


def _task_path(dag_id: str, run_id: str, task_id: str) -> str:
    return f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id, safe='')}"


def _log_line(event: Mapping[str, Any]) -> str:
    """One structured log event as a line, with the stack trace if it has one."""
    line = " ".join(str(event[key]) for key in ("timestamp", "level", "event") if event.get(key))
    for error in event.get("error_detail") or ():
        frames = [f"    {frame['filename']}:{frame['lineno']} {frame['name']}" for frame in error.get("frames", ())]
        line = "\n".join([line, *frames, f"    {error.get('exc_type')}: {error.get('exc_value')}"])
    return line
