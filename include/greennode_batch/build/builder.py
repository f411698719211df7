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
from greennode_batch.build.request_lines import RequestTemplate, line_fields
from greennode_batch.build.shards import Shard, ShardFile
from greennode_batch.build.source import Row
from greennode_batch.build.source_rows import SourceRows, fit, settle, unify
from greennode_batch.collect.answers import response_format, schema_wish
from greennode_batch.errors import RowError
from greennode_batch.job import BatchJob, read_job_text
from greennode_batch.spend import estimate_tokens
from greennode_batch.staging import RunFolder, land


class PlannedShard(msgspec.Struct, frozen=True):
    """One batch file. `rows`: the source rows that it answers, more than `requests` if some ask the same.

    `prompt_tokens` is an estimate, by the length of the texts.
    """

    shard_id: str
    model: str
    requests: int
    rows: int
    bytes: int
    prompt_tokens: int


class LongestRequest(msgspec.Struct, frozen=True):
    """The longest line of a run, and the row that asks it."""

    bytes: int
    row: str


class Builder:
    """Rows -> shards in one pass. Holds the kept columns of one shard, and the ids of all requests and keys."""

    def __init__(self, job: BatchJob, columns: Sequence[str], run: RunFolder, work: Path, profile: ApiProfile) -> None:
        self._run = run
        self._work = work
        self._max_requests = min(job.max_shard_requests or profile.max_requests, profile.max_requests)
        self._max_bytes = min(job.max_shard_bytes or profile.max_file_bytes, profile.max_file_bytes)
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
        self._kept_names = (*job.key_columns, *job.carry)
        self._kept = [columns.index(name) for name in self._kept_names]
        self._seen_keys: set[tuple[Any, ...]] = set()
        self._shard_of: dict[str, int] = {}  # custom_id -> place in self._shards
        self._current: dict[str, int] = {}  # model -> place of the shard that is open for it
        self._shards: list[_ShardUnderWay] = []
        self.unsent = 0
        self.longest = LongestRequest(0, "")

    def add(self, row: Row) -> None:
        """One source row: a request to each model, or a reason why not. Raises RowError, naming the row."""
        key = self._checked_key(row)
        kept = [row[place] for place in self._kept]
        for template in self._templates:
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
                shard = self._shards[-1] if self._shards else self._open_shard(template.model)
                shard.rows.add(kept, template.model, None, unsent)
                continue
            # An equal request was asked for another row: this row joins its answer, and nothing is paid.
            place = self._shard_of.get(request.custom_id)
            if place is None:
                shard = self._open_shard(template.model, request.line)
                shard.add(request.line, characters=sum(map(len, texts)), constant_bytes=template.constant_bytes)
                place = self._current[template.model]
                self._shard_of[request.custom_id] = place
                if len(request.line) > self.longest.bytes:
                    self.longest = LongestRequest(len(request.line), f"{self._key_names} = {_shown(key)}")
            self._shards[place].rows.add(kept, template.model, request.custom_id, None)

    def finish(self) -> list[PlannedShard]:
        """Close what is open, settle one schema for all source files, and land them."""
        for place in self._current.values():
            self._shards[place].close(self._run)
        if not self._shards:
            return []
        schema = settle(unify([part for shard in self._shards for part in shard.schemas()]))
        planned = []
        for shard in self._shards:
            table = pa.concat_tables([fit(part, schema) for part in shard.parts()])
            planned.append(shard.planned(rows=table.num_rows))
            made = self._work / "source.parquet"
            pq.write_table(table, made, compression="zstd")
            land(made, self._run.shard(planned[-1].shard_id).source)
        return planned

    def _checked_key(self, row: Row) -> tuple[Any, ...]:
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
        if len(line) > self._max_bytes:
            return f"the request has {len(line):,} bytes; a whole file may have {self._max_bytes:,}"
        return None

    def _open_shard(self, model: str, line: bytes = b"") -> _ShardUnderWay:
        """The model's shard that takes the line: the one that is open, or a new one."""
        place = self._current.get(model)
        if place is not None and self._shards[place].file.fits(line):
            return self._shards[place]
        if place is not None:
            self._shards[place].close(self._run)
        self._current[model] = len(self._shards)
        work = self._work / f"{len(self._shards):06}.jsonl"
        file = ShardFile(work, max_requests=self._max_requests, max_bytes=self._max_bytes)
        self._shards.append(_ShardUnderWay(model, file, self._kept_names))
        return self._shards[-1]


class _ShardUnderWay:
    """A shard's file, and the rows that it answers: also those that come after the file is full."""

    def __init__(self, model: str, file: ShardFile, kept_names: Sequence[str]) -> None:
        self.model = model
        self.file = file
        self.rows = SourceRows(kept_names)
        self._kept_names = kept_names
        self._characters = 0
        self._text_bytes = 0
        self._early_rows: Path | None = None
        self._shard: Shard | None = None

    def add(self, line: bytes, *, characters: int, constant_bytes: int) -> None:
        """Add a request whose texts have so many characters; the line has so many bytes beside them."""
        self.file.add(line)
        self._characters += characters
        self._text_bytes += len(line) - constant_bytes

    def close(self, run: RunFolder) -> None:
        """Land the file of requests, and put the rows so far aside on disk."""
        self._shard = self.file.close()
        self._early_rows = self._shard.path.with_suffix(".parquet")
        pq.write_table(self.rows.table(), self._early_rows)
        self.rows = SourceRows(self._kept_names)
        land(self._shard.path, run.shard(self._shard.shard_id).requests)

    def parts(self) -> list[pa.Table]:
        """The rows from before the file was closed, and those from after it."""
        assert self._early_rows is not None
        return [pq.read_table(self._early_rows), self.rows.table()]

    def schemas(self) -> list[pa.Schema]:
        """The columns of both."""
        assert self._early_rows is not None
        return [pq.read_schema(self._early_rows), self.rows.table().schema]

    def planned(self, *, rows: int) -> PlannedShard:
        """The shard as the plan tells it."""
        assert self._shard is not None
        return PlannedShard(
            shard_id=self._shard.shard_id,
            model=self.model,
            requests=self._shard.requests,
            rows=rows,
            bytes=self._shard.bytes,
            prompt_tokens=estimate_tokens(self._characters, self._text_bytes),
        )


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
