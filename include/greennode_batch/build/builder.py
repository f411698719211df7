"""The builder: source rows go in one by one, shards come out, each beside the rows that it answers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from greennode_batch.api.profile import ApiProfile
from greennode_batch.build.column_types import fit, settle, unify
from greennode_batch.build.kept_shards import KeptShard, KeptShards
from greennode_batch.build.open_shard import OpenShard, PlannedShard
from greennode_batch.build.request_lines import RequestTemplate, line_fields
from greennode_batch.build.shards import ShardFile, shard_limits
from greennode_batch.build.source import RowBatch
from greennode_batch.collect.answers import response_format, schema_wish
from greennode_batch.errors import RowError
from greennode_batch.job import BatchJob, read_job_text
from greennode_batch.staging import RunFolder, ShardFolder, land


class LongestRequest(msgspec.Struct, frozen=True):
    """The longest line of a run, and the row that asks it."""

    bytes: int
    row: str


class Builder:
    """Rows -> shards in one pass. Holds the kept columns of one shard, and the ids of all requests and keys.

    kept: shards that stay as they are; rows that lie there already are not asked again.
    """

    def __init__(
        self,
        job: BatchJob,
        columns: Sequence[str],
        run: RunFolder,
        work: Path,
        *,
        profile: ApiProfile,
        kept: KeptShards,
    ) -> None:
        self._columns = columns
        self._run = run
        self._work = work
        self._limits = shard_limits(job, profile)
        messages = chat_messages(job, profile)
        self.prompt_hash = hashlib.blake2b(msgspec.json.encode(messages), digest_size=16).hexdigest()
        self._templates = [
            RequestTemplate(
                model=model,
                messages=messages,
                params=request_params(job, profile),
                columns=columns,
                line_fields=line_fields(profile),
                prompt_name=f"prompt of job {job.name}",
            )
            for model in job.models
        ]
        self._key = [columns.index(name) for name in job.key_columns]
        self._key_names = ", ".join(job.key_columns)
        self._carried_names = (*job.key_columns, *job.carry)
        self._carried = [columns.index(name) for name in self._carried_names]
        self._seen_keys: set[tuple[Any, ...]] = set()
        self._kept = kept
        self._shards: list[KeptShard | OpenShard] = [*kept.shards]
        self._shard_of = kept.shard_of  # custom_id -> place in self._shards
        self._open: dict[str, tuple[int, OpenShard]] = {}  # model -> the shard that is open for it, and its place
        self._sources: list[tuple[Path, ShardFolder]] = []
        self.unsent = kept.unsent
        self.longest = LongestRequest(0, "")

    def add(self, batch: RowBatch) -> None:
        """A batch of source rows. Raises RowError, naming the row."""
        rows = list(zip(*(batch.values(name) for name in self._columns), strict=True))
        if not self._kept.shards:
            for row in rows:
                self._ask(row, self._templates)
            return
        key_columns = [[row[place] for row in rows] for place in self._key]
        for row, models in zip(rows, self._kept.models_of(key_columns), strict=True):
            self._ask(row, [template for template in self._templates if template.model not in models])

    def _ask(self, row: Sequence[Any], templates: Sequence[RequestTemplate]) -> None:
        """One source row: a request by each template, or a reason why not."""
        key = self._checked_key(row)
        carried = [row[place] for place in self._carried]
        for template in templates:
            try:
                texts = template.texts(row)
                request = template.line(texts)
            except RowError as error:
                raise RowError(f"row {self._key_names} = {_shown(key)}: {error}. Nothing was sent") from None
            unsent = self._why_unsent(texts, request.line)
            if unsent is not None:
                self.unsent += 1
                # Any shard will do: a row that is not sent is joined to nothing. One without requests is made
                # only where there is no other; two would have the same bytes, and so the same folder.
                if not self._shards:
                    self._shard_for(template.model)
                self._shards[-1].rows.add(carried, template.model, None, unsent)
                continue
            # An equal request was asked for another row: this row joins its answer, and nothing is paid.
            place = self._shard_of.get(request.custom_id)
            if place is None:
                place, shard = self._shard_for(template.model, request.line)
                shard.add(request.line, characters=sum(map(len, texts)), constant_bytes=template.constant_bytes)
                self._shard_of[request.custom_id] = place
                if len(request.line) > self.longest.bytes:
                    self.longest = LongestRequest(len(request.line), f"{self._key_names} = {_shown(key)}")
            self._shards[place].rows.add(carried, template.model, request.custom_id, None)

    def finish(self) -> list[PlannedShard]:
        """Close what is open, settle one schema for all source files, and make them: the kept shards come first."""
        for _, opened in self._open.values():
            opened.close(self._run)
        schema = settle(unify([part for shard in self._shards for part in shard.schemas()]))
        for place, shard in enumerate(self._shards):
            if not shard.is_stored_as(schema):
                made = self._work / f"{place:06}.source.parquet"
                table = pa.concat_tables([fit(part, schema) for part in shard.parts()])
                pq.write_table(table, made, compression="zstd")
                self._sources.append((made, self._run.shard(shard.shard_id)))
        return [shard.planned() for shard in self._shards]

    def land_sources(self) -> None:
        """Put the source files into their places: what the rows of a shard are is settled with this."""
        for made, shard in self._sources:
            land(made, shard.source)

    def _checked_key(self, row: Sequence[Any]) -> tuple[Any, ...]:
        key = tuple([row[place] for place in self._key])
        where = f"row {self._key_names} = "
        if None in key:
            raise RowError(
                f"{where}{_shown(key)}: a key may not be NULL; filter such rows out in the query. Nothing was sent"
            )
        try:
            is_new = key not in self._seen_keys
        except TypeError:
            raise RowError(
                f"{where}{_shown(key)}: a key may not be JSON or an array; cast it to text in the query. "
                "Nothing was sent"
            ) from None
        if not is_new:
            raise RowError(
                f"{where}{_shown(key)}: this key comes twice. Name all columns that identify a row "
                '(key=("a", "b")), or make the rows unique in the query. Nothing was sent'
            )
        self._seen_keys.add(key)
        return key

    def _why_unsent(self, texts: Sequence[str], line: bytes) -> str | None:
        # The last message is the question; before it stand instructions and examples.
        if not texts[-1] or texts[-1].isspace():
            return "the prompt is empty"
        if len(line) > self._limits.max_bytes:
            return f"the request has {len(line):,} bytes; a whole file may have {self._limits.max_bytes:,}"
        return None

    def _shard_for(self, model: str, line: bytes = b"") -> tuple[int, OpenShard]:
        """The model's shard that takes the line, and its place: the one that is open, or a new one."""
        opened = self._open.get(model)
        if opened is not None and opened[1].file.fits(line):
            return opened
        if opened is not None:
            opened[1].close(self._run)
        place = len(self._shards)
        shard = OpenShard(model, ShardFile(self._work / f"{place:06}.jsonl", self._limits), self._carried_names)
        self._shards.append(shard)
        self._open[model] = place, shard
        return self._open[model]


def _shown(key: Sequence[Any]) -> str:
    return ", ".join("NULL" if value is None else str(value) for value in key)


def chat_messages(job: BatchJob, profile: ApiProfile) -> list[Mapping[str, Any]]:
    """The job's chat messages, their contents still Jinja.

    Where the API takes no JSON schema, the answer model's stands at the end of the system message instead.
    """
    if job.messages is not None:
        messages = [
            {**message, "content": read_job_text(message["content"])}
            if isinstance(message.get("content"), str)
            else message
            for message in job.messages
        ]
    else:
        system = [{"role": "system", "content": read_job_text(job.system)}] if job.system else []
        messages = [*system, {"role": "user", "content": read_job_text(job.prompt or "")}]
    if job.answer is None or profile.json_schema == "native":
        return messages
    wish = f"{{% raw %}}{schema_wish(job.answer)}{{% endraw %}}"
    if messages[0].get("role") == "system":
        return [{**messages[0], "content": f"{messages[0]['content']}\n\n{wish}"}, *messages[1:]]
    return [{"role": "system", "content": wish}, *messages]


def request_params(job: BatchJob, profile: ApiProfile) -> dict[str, Any]:
    """The fields of every request body beside model and messages, under the names that the API takes."""
    params = dict(job.params)
    for name in ("max_tokens", "max_completion_tokens"):
        if name in params:
            params[profile.token_parameter] = params.pop(name)
    if job.answer is not None and profile.json_schema == "native":
        params["response_format"] = response_format(job.answer)
    return params
