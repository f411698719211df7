"""Preview: what a run would send, for a person to read before anything is sent."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pyarrow.compute as pc

from greennode_batch.api.profile import ApiProfile
from greennode_batch.cost.estimate import estimate_tokens
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.request.job_request import job_request
from greennode_batch.request.request_templates import request_templates, requests_of
from greennode_batch.request.shown_message import message_texts, shown_message
from greennode_batch.request.token_counter import TokenCounter
from greennode_batch.source.rows import Key, Rows, first_rows
from greennode_batch.staging.folders import RunFolder, ShardFolder
from greennode_batch.staging.parquet import read_staged
from greennode_batch.state.plan import Plan


class PlannedRequest(msgspec.Struct, frozen=True):
    """A request in a shard."""

    shard: ShardFolder
    model: str
    custom_id: str
    body: dict[str, Any]
    """The decoded body: model, messages and parameters."""

    def prompt_tokens(self, counter: TokenCounter | None = None) -> int:
        """Its prompt tokens as in the plan: counted, or estimated from the length of its texts."""
        if counter is not None:
            return counter.count([self.body["messages"]])[0]
        texts = [text for message in self.body["messages"] for text in message_texts(message)]
        return estimate_tokens(sum(map(len, texts)), sum(len(text.encode()) for text in texts))

    def row(self, plan: Plan) -> str:
        """The first row that has this request, as `row ticket_id = T-0001`."""
        source = read_staged(self.shard.source, [*plan.key, "custom_id"])
        row = source.filter(pc.equal(source["custom_id"], self.custom_id)).slice(0, 1).to_pylist()[0]
        return _named(plan.key, [row[name] for name in plan.key])


class _Line(msgspec.Struct):
    custom_id: str
    body: msgspec.Raw


def first_requests(run: RunFolder, plan: Plan, model: str) -> Iterator[PlannedRequest]:
    """Yield the requests to one model, in the order of its shards; of several samples, only the first.

    Holds one line, and a hash of each request that it has yielded.
    """
    decoder = msgspec.json.Decoder(_Line)
    given: set[bytes] = set()
    for planned in plan.shards:
        if planned.model != model or not planned.requests:
            continue
        shard = run.shard(planned.shard_id)
        with shard.requests.open("rb") as file:
            while raw := file.readline():
                line = decoder.decode(raw)
                digest = hashlib.blake2b(line.body, digest_size=16).digest()
                if digest not in given:
                    given.add(digest)
                    yield PlannedRequest(shard, model, line.custom_id, msgspec.json.decode(line.body))


def preview(run: RunFolder, plan: Plan, *, shown: int = 3) -> str:
    """Show the plan's numbers, the estimate, and the first `shown` requests of each model, as text."""
    lines = [
        str(plan),
        f"longest request: {plan.longest.bytes:,} bytes, of row {plan.longest.row}" if plan.requests else "no request",
        str(plan.estimate),
        *filter(None, [plan.repeat_warning]),
    ]
    for model in plan.models:
        for request in itertools.islice(first_requests(run, plan, model), shown):
            lines += _shown(request.row(plan), request.body)
    return "\n".join(lines)


def sample_requests(job: BatchJob, rows: Rows, profile: ApiProfile) -> str:
    """The requests of the source's first row, one for each model, as text: for a run that has no request to show.

    Empty of a source without rows. Raises RowError as a build does.
    """
    lines: list[str] = []
    for batch in first_rows(rows, 1).batches:

        def named(key: Key) -> str:
            return _named(job.key_columns, key)

        key = tuple(batch.values(name)[0] for name in job.key_columns)
        for template in request_templates(job, job_request(job, profile), rows.columns):
            made = requests_of(template, batch, [key], named, None)
            if made.blank:
                lines += ["", f"{named(key)} asks nothing: {made.blank[0]}"]
            else:
                lines += _shown(named(key), msgspec.json.decode(msgspec.json.decode(made.lines[0], type=_Line).body))
    return "\n".join(lines)


def _named(key: Sequence[str], values: Sequence[Any]) -> str:
    return f"row {', '.join(key)} = {', '.join(map(str, values))}"


def _shown(row: str, body: Mapping[str, Any]) -> list[str]:
    """A request as lines, after an empty one."""
    settings = {name: value for name, value in body.items() if name not in {"model", "messages"}}
    head = f"{row}, model {body['model']} {msgspec.json.encode(settings).decode()}"
    return ["", head, *map(shown_message, body["messages"])]
