"""Server: the emulator as an auditor sees it, by the files that were sent and those that came back."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

import httpx
import pydantic
from tests.year.jobs import ANSWERS, NO_ANSWER_MODEL
from tests.year.model import FINAL, GOOD, PASSING, Outcome, Request

from greennode_emulator.answers import answer_for
from greennode_emulator.server import RunningEmulator

_FINAL_STATUSES = {400, 413, 422}
_MOST_SAMPLES = 3
_OVER_CAPACITY = "token_limit_exceeded"


class Reply(NamedTuple):
    """What the server says of a request: a status of rows, whether that is final, and the text of an answer."""

    status: str
    kind: str
    text: str | None = None

    def read_as(self, answer: str) -> Outcome:
        """The outcome, for an answer model."""
        if self.text is None:
            return Outcome(self.status, self.kind)
        model = ANSWERS[answer]
        if model is None:
            values: dict[str, object] = {"answer": self.text} if self.text else {}
        else:
            try:
                values = model.model_validate_json(self.text).model_dump()
            except pydantic.ValidationError:
                values = {}
        return Outcome(self.status, GOOD, tuple(values.items())) if values else Outcome("invalid_output", PASSING)


class Sent(NamedTuple):
    """A request that was sent, and what became of it."""

    request: Request
    reply: Reply


@dataclass
class Server:
    """What was sent since the last audit. open: batches of runs that were stopped, by the run."""

    emulator: RunningEmulator
    known: set[str] = field(default_factory=set)
    open: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    live: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        headers = {"Authorization": f"Bearer {self.emulator.api_key}"}
        self._client = httpx.Client(base_url=self.emulator.base_url, headers=headers, trust_env=False, verify=False)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def leave_open(self, run_id: str) -> None:
        """Note that all that is new was sent by a run that goes on later."""
        self.open.setdefault(run_id, []).extend(self._new())

    def sent(self, run_id: str, live_lines: Mapping[str, bytes], *, answered: Collection[Request]) -> Iterator[Sent]:
        """All requests that a run sent, in order, since the last time.

        live_lines: those of live shards, by id. answered: the requests that were answered before.
        """
        for batch in [*self.open.pop(run_id, []), *self._new()]:
            shown = self._shown(batch["id"])
            if _OVER_CAPACITY in str(shown.get("errors")):
                continue  # nothing of it was begun
            lines, results = self._files(batch, shown)
            replies: dict[str, Reply] = {}
            for one in results:
                reply = _reply_of(one)
                before = replies.get(one["custom_id"])
                if before is None or before.text is None:
                    replies[one["custom_id"]] = reply
            without = _without_line(shown)
            for line in lines:
                parsed = json.loads(line)
                yield Sent(_request_of(line, parsed), replies.get(parsed["custom_id"], without))
        if not live_lines:
            return
        billed = Counter(self.emulator.ledger()["chat_requests"])
        fresh, self.live = billed - self.live, billed
        of_bodies: dict[str, list[Sent]] = {}
        for line in live_lines.values():
            parsed = json.loads(line)
            sent = Sent(_request_of(line, parsed), Reply("succeeded", GOOD, answer_for(parsed["body"]).content))
            of_bodies.setdefault(_plain_id(line), []).append(sent)
        for plain_id, count in fresh.items():
            # Samples have one body. Those that were answered before are not meant, if there are others.
            own = sorted(of_bodies[plain_id], key=lambda one: one.request in answered)
            yield from itertools.islice(itertools.cycle(own), count)

    def _new(self) -> list[dict[str, Any]]:
        batches = [one for one in self.emulator.ledger(summary=True)["batches"] if one["id"] not in self.known]
        self.known.update(one["id"] for one in batches)
        return batches

    def _get(self, path: str) -> httpx.Response:
        return self._client.get(path)

    def _shown(self, batch_id: str) -> dict[str, Any]:
        shown = self._get(f"/batches/{batch_id}")
        return shown.json() if shown.is_success else {}

    def _files(self, batch: Mapping[str, Any], shown: Mapping[str, Any]) -> tuple[list[bytes], list[dict[str, Any]]]:
        ids = [shown.get("output_file_id"), shown.get("error_file_id")]
        results = [one for file_id in ids if file_id for line in self._lines(file_id) if (one := _parsed(line))]
        return list(self._lines(batch["input_file_id"])), results

    def _lines(self, file_id: str) -> Iterator[bytes]:
        content = self._get(f"/files/{file_id}/content").content
        if content.startswith(b"\xff\xfe"):
            content = content.decode("utf-16").encode()
        return (line for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip(b"\r\0 "))


def _parsed(line: bytes) -> dict[str, Any] | None:
    for encoding in ("utf-8", "utf-16-le"):
        try:
            parsed = json.loads(line.decode(encoding))
        except ValueError:
            continue
        return parsed if isinstance(parsed, dict) and isinstance(parsed.get("custom_id"), str) else None
    return None


def _request_of(line: bytes, parsed: Mapping[str, Any]) -> Request:
    """What a line of a batch file asks."""
    body = parsed["body"]
    answer = (body.get("response_format") or {}).get("json_schema", {}).get("name", NO_ANSWER_MODEL)
    text = body["messages"][-1]["content"]
    return (body["model"], str(body.get("max_tokens")), answer, text, str(_sample_of(line, parsed["custom_id"])))


def _sample_of(line: bytes, custom_id: str) -> int:
    """The number of the sample, which only the id says."""
    plain = _plain_id(line)
    further = {
        blake2b(f"{plain} sample {number}".encode(), digest_size=16).hexdigest(): number
        for number in range(2, _MOST_SAMPLES + 1)
    }
    return {plain: 1, **further}[custom_id]


def _plain_id(line: bytes) -> str:
    """The hash of the request's body, which is the id of the first sample."""
    return blake2b(line.rstrip().partition(b'"body":')[2][:-1], digest_size=16).hexdigest()


def _reply_of(line: Mapping[str, Any]) -> Reply:
    """What a result line says."""
    response, error = line.get("response") or {}, line.get("error") or {}
    if response.get("status_code") == 200:
        (choice,) = response["body"]["choices"]
        match choice["finish_reason"]:
            case "length":
                return Reply("truncated", FINAL)
            case "content_filter":
                return Reply("refused", FINAL)
        return Reply("succeeded", GOOD, choice["message"]["content"] or "")
    code = str(error.get("code") or "") if isinstance(error, dict) else ""
    for status in ("expired", "cancelled"):
        if status in code:
            return Reply(status, PASSING)
    return Reply("failed", FINAL if response.get("status_code") in _FINAL_STATUSES else PASSING)


def _without_line(batch: Mapping[str, Any]) -> Reply:
    """What it means that a batch has no line of a request."""
    status = str(batch.get("status"))
    if status in {"expired", "cancelled"}:
        return Reply(status, PASSING)
    return Reply("failed" if batch.get("errors") else "missing", PASSING)
