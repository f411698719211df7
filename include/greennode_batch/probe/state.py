"""Everything that a probe knows: plain data, saved as resume.json and read by the report."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import msgspec

from greennode_batch.api.polling.polling import may_be_over, state_of
from greennode_batch.api.profile import ApiProfile
from greennode_batch.api.wire import Batch, BatchStatus, parse_batch
from greennode_batch.probe.places import batch_places

DEFAULT_WAIT_SECONDS = 600.0
MAX_CHATS = 6
QUIET_SECONDS = 60.0
"""How long a two-line batch with a result file must not change before an unknown status word counts as its end."""
MAX_BATCHES = 5
LINES_A_BATCH = 2
MAX_CREATE_CALLS = 45

Role = Literal["main", "cancelled", "bad_line"]


class Finding(msgspec.Struct, frozen=True):
    """One finding, and the files of the exchanges that show it."""

    topic: str
    words: str
    shown_by: tuple[str, ...] = ()


class StatusWord(msgspec.Struct, frozen=True):
    """A status word, and how many seconds after the create it was first seen."""

    word: str
    seconds: float


class ProbeBatch(msgspec.Struct, kw_only=True):
    """A batch that the probe created. `raw` is its last state as the server sent it, without the key."""

    role: Role
    id: str
    file_id: str
    line_format: str
    created_at: float
    raw: dict[str, Any] = {}
    words: list[StatusWord] = []
    listed_after_seconds: float | None = None
    gone: bool = False
    has_results: bool = False
    """Whether results could be read of it, though its word does not say that it is over."""
    is_cancelled: bool = False
    """Whether the server has taken a cancel of it."""
    replaced: bool = False
    quiet_since: float = 0.0
    noted_at: float = 0.0
    paths: dict[str, str] = {}
    """The profile's `batch_fields`, as known so far."""

    @property
    def batch(self) -> Batch:
        """The last state, read as the client reads it."""
        return parse_batch(self.raw or {"id": self.id}, default_id=self.id, paths=self.paths)

    @property
    def ended(self) -> bool:
        """Whether nothing about it changes any more; with an unknown word, it has not changed for a while."""
        batch = self.batch
        return self.gone or batch.status.is_terminal or self.has_results or (self.is_quiet and self._may_be_over)

    @property
    def is_quiet(self) -> bool:
        """Whether it has stood still for a while."""
        return self.noted_at - self.quiet_since >= QUIET_SECONDS

    @property
    def _may_be_over(self) -> bool:
        batch = self.batch
        names_file = "output_file_id" in batch_places(self.raw, self.file_id)
        return may_be_over(batch) or (batch.status is BatchStatus.UNKNOWN and (names_file or self.is_cancelled))

    def note(self, raw: dict[str, Any], now: float) -> None:
        """Take over a new state."""
        before = state_of(self.batch)
        self.raw = raw
        self.noted_at = now
        if state_of(self.batch) != before:
            self.quiet_since = now
        word = self.batch.raw_status
        if word and (not self.words or self.words[-1].word != word):
            self.words.append(StatusWord(word, round(max(0.0, now - self.created_at), 1)))


class State(msgspec.Struct, kw_only=True):
    """What was found, made, spent and left open."""

    base_url: str
    preset: str
    requested_model: str | None = None
    model: str | None = None
    seen: dict[str, Any] = {}
    """Fields of the profile, with the value that was tried and worked."""
    also: dict[str, list[Any]] = {}
    """Other values of a field that worked as well."""
    findings: list[Finding] = []
    open: dict[str, str] = {}
    """What could not be found out, and why."""
    pending: dict[str, str] = {}
    """Steps that a later run can finish, and what they wait for."""
    done: list[str] = []
    batches: list[ProbeBatch] = []
    files: dict[str, str] = {}
    """Files in the server's store that the probe made, with a description."""
    inputs: dict[Role, str] = {}
    """Role -> file id of its lines."""
    creating: dict[Role, str] = {}
    """Role -> file id of a create that was begun and whose outcome is unknown."""
    left: list[str] = []
    """What could not be cleaned up."""
    headers: dict[str, str] = {}
    """Headers that mention limits or name a request, with an example value."""
    limit_words: list[str] = []
    calls: int = 0
    chats: int = 0
    create_calls: int = 0
    successes: int = 0
    has_read_answers: bool = False
    """Whether lines of a result file answered the requests of a batch."""
    ended: str | None = None
    """Why the probe stopped before its end."""

    @property
    def has_profile(self) -> bool:
        """Whether enough was seen to make a profile."""
        return bool(self.batches)

    def add(self, topic: str, words: str, *shown_by: str) -> None:
        """Record a finding."""
        words = words.rstrip(".") + "."
        finding = Finding(topic, words, tuple(name for name in shown_by if name))
        if all((one.topic, one.words) != (topic, words) for one in self.findings):
            self.findings.append(finding)

    def profile(self, base: ApiProfile) -> ApiProfile:
        """The profile that works, as known so far."""
        return dataclasses.replace(base, **self.seen)

    def works(self, profile: ApiProfile, *fields: str) -> None:
        """Record that these fields of a profile worked."""
        for name in fields:
            self.seen[name] = getattr(profile, name)

    def works_too(self, name: str, *, value: Any) -> None:
        """Record another value that worked."""
        values = self.also.setdefault(name, [])
        if value not in values:
            values.append(value)

    def current(self, role: Role) -> ProbeBatch | None:
        """The batch that has a role, the newest of them."""
        return next((one for one in reversed(self.batches) if one.role == role and not one.replaced), None)
