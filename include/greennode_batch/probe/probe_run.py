"""The steps of a probe in their order, and its ends: done, waiting, refused, stopped."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection
from typing import Any

import httpx
from upath import UPath

from greennode_batch.api.connection import DEFAULT_TIMEOUT_SECONDS, Connection
from greennode_batch.api.profile import ApiProfile
from greennode_batch.errors import ConfigError
from greennode_batch.probe import (
    batch_steps,
    chat_steps,
    ending_steps,
    file_steps,
    list_steps,
    probe_report,
    result_steps,
    wait_steps,
)
from greennode_batch.probe.found import Found, found
from greennode_batch.probe.session import ProbeEndedError, Session
from greennode_batch.probe.state import DEFAULT_WAIT_SECONDS, ProbeBatch, Role, State
from greennode_batch.staging.folders import read_json, write_json

RESUME = "resume.json"

_WAIT = "wait for the batches"
_ALL: tuple[Role, ...] = ("main", "bad_line", "cancelled")
# Each with the roles whose batches must have ended.
_STEPS: dict[str, tuple[Callable[[Session], None], tuple[Role, ...]]] = {
    "models": (chat_steps.models, ()),
    "chat": (chat_steps.chat, ()),
    "structured output": (chat_steps.structured, ()),
    "bad parameters": (chat_steps.refusal, ()),
    "upload": (file_steps.upload, ()),
    "look at the file": (file_steps.poll, ()),
    "other purposes": (file_steps.purposes, ()),
    "read the file back": (file_steps.content, ()),
    "create a batch": (batch_steps.create_main, ()),
    "first look at the batch": (wait_steps.first_poll, ()),
    "create a batch to cancel": (batch_steps.create_cancelled, ()),
    "cancel it": (ending_steps.cancel, ()),
    "create a batch with a bad line": (batch_steps.create_bad_line, ()),
    _WAIT: (wait_steps.wait, ()),
    "pages of the list": (list_steps.paging, ()),
    "results": (result_steps.results, ("main",)),
    "the bad line": (result_steps.bad_line, ("bad_line",)),
    "what the cancel left": (result_steps.cancelled, ("cancelled",)),
    "cancel a finished batch": (ending_steps.cancel_finished, ("main",)),
    "delete the batches": (ending_steps.delete, _ALL),
    "delete the files": (file_steps.delete, _ALL),
}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of a probe. `waits`: a later run can find out more.

    is_stopped: whether a person stopped it.
    """

    state: State
    found: Found
    text: str
    waits: bool
    is_stopped: bool = False

    @property
    def may_be_saved(self) -> bool:
        """Whether the profile is as good as possible: the probe finished, and a batch was created."""
        return self.state.has_profile and self.state.ended is None and not self.waits

    @property
    def confirms_profile(self) -> bool:
        """Whether the profile brought all answers of a batch home, so that a run with it needs no pilot."""
        return self.may_be_saved and self.state.has_read_answers


class Probe:
    """One probe of one server, in one folder; a folder with a resume.json is continued.

    Waits, with `sleep`, only between two polls of a batch and before a repeated call.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        folder: UPath,
        *,
        model: str | None = None,
        profile: ApiProfile | None = None,
        allow_http_hosts: Collection[str] = (),
        wait_seconds: float = DEFAULT_WAIT_SECONDS,
        keep: bool = False,
        say: Callable[[str], None] = lambda _words: None,
        progress: Callable[[str, int, int | None], None] = lambda _step, _done, _total: None,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._base = profile or ApiProfile()
        self._connection = Connection(
            base_url, api_key, profile=self._base, allow_http_hosts=allow_http_hosts, timeout_seconds=timeout
        )
        self._folder = folder
        self._say = say
        self._state = self._begin(model)
        self._session = Session(
            connection=self._connection,
            state=self._state,
            folder=folder,
            transport=transport,
            sleep=sleep,
            now=now,
            save=self._save,
            wait_seconds=wait_seconds,
            keep=keep,
            progress=progress,
        )

    @property
    def host(self) -> str:
        """The host of the server that is probed."""
        return self._connection.host

    def run(self) -> Outcome:
        """Do every step that is not done yet, then write the probe_report. Never raises for what a server does."""
        self._say(probe_report.announcement())
        state = self._state
        state.ended = None
        state.pending.clear()
        state.left.clear()
        is_stopped = False
        try:
            batch_steps.settle_creates(self._session)
            for name in _STEPS:
                if name not in state.done:
                    self._say(f"{name} …")
                    self._take(name)
        except ProbeEndedError as end:
            state.ended = str(end)
        except KeyboardInterrupt:
            state.ended, is_stopped = "it was stopped by hand", True
        finally:
            self._session.close()
        return dataclasses.replace(self._finish(), is_stopped=is_stopped)

    def _take(self, name: str) -> None:
        step, roles = _STEPS[name]
        waits = self._waits_for(roles)
        if waits is not None:
            self._state.pending[name] = waits
            return
        step(self._session)
        # A later run repeats a wait that ran out of time.
        if name != _WAIT or not self._running():
            self._state.done.append(name)
        self._save()

    def _waits_for(self, roles: tuple[Role, ...]) -> str | None:
        """Which batches a step waits for; None if it can begin."""
        running = [one for one in self._running() if one.role in roles]
        if not running:
            return None
        return "; ".join(f"batch {one.id} ({one.role}) is still {one.batch.raw_status!r}" for one in running)

    def _running(self) -> list[ProbeBatch]:
        return [one for one in self._state.batches if not one.ended]

    def _begin(self, model: str | None) -> State:
        state = read_json(self._folder / RESUME, State)
        base_url = self._connection.base_url
        if state is None:
            return State(base_url=base_url, preset=self._base.name, requested_model=model)
        if state.base_url != base_url:
            raise ConfigError(f"{self._folder} is a probe of {state.base_url}, not of {base_url}; use another one")
        state.requested_model = model or state.requested_model
        return state

    def _save(self) -> None:
        write_json(self._folder / RESUME, self._clean(self._state))

    def _finish(self) -> Outcome:
        state = self._state
        made = found(state.seen, state.also, base=self._base)
        assert made.profile
        clean = self._session.recorder.clean
        text = clean(probe_report.as_markdown(state, made))
        waits = bool(state.pending or state.creating or (state.ended and state.successes))
        write_json(self._folder / "report.json", self._clean(probe_report.as_json(state, made)))
        (self._folder / "report.md").write_bytes(text.encode())
        if state.has_profile:
            write_json(self._folder / "profile.json", self._clean(made.extra))
        self._save()
        return Outcome(state, made, text, waits)

    def _clean(self, value: Any) -> Any:
        return self._session.recorder.clean_json(value)
