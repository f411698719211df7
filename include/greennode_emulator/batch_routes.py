"""Create, read, list, cancel and delete batches; read their results."""

import asyncio
import os
import secrets
from collections.abc import Collection, Iterator

import msgspec
from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from greennode_emulator.batch_view import batch_reply, counts_looks, is_forgotten, is_listed, is_missed
from greennode_emulator.batch_work import input_name
from greennode_emulator.core import Emulator
from greennode_emulator.dialects.dialect import Reply
from greennode_emulator.endpoints import Endpoint, Handler
from greennode_emulator.enqueued_tokens import enqueued_in, refusal_words, tokens_of
from greennode_emulator.faults.batch_faults import EnqueuedLimit, Failed, RepeatedCreate, SwappedFile
from greennode_emulator.faults.call_acts import is_reply_lost
from greennode_emulator.file_view import check_processed, find_file
from greennode_emulator.input_lines import rewrite_lines
from greennode_emulator.listing import list_page
from greennode_emulator.records import BatchRecord, FileRecord, Phase, Purpose
from greennode_emulator.refusals import RefusedError, bad_body, not_found
from greennode_emulator.replies import deleted_reply, json_reply
from greennode_emulator.result_files import in_form, merged_lines, result_file_id


class BatchRoutes:
    """The handlers of the batch endpoints."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._dialect = emulator.dialect
        self._store = emulator.store
        self._clock = emulator.settings.clock
        self._create = msgspec.json.Decoder(self._dialect.create_body)

    def handlers(self) -> dict[Endpoint, Handler]:
        """Which handler serves which endpoint."""
        return {
            Endpoint.CREATE_BATCH: self.create,
            Endpoint.LIST_BATCHES: self.list,
            Endpoint.GET_BATCH: self.get,
            Endpoint.CANCEL_BATCH: self.cancel,
            Endpoint.DELETE_BATCH: self.delete,
            Endpoint.BATCH_RESULTS: self.results,
        }

    async def create(self, request: Request) -> Response:
        """Begin a batch; whether its file is valid shows later, in its status."""
        try:
            wish = self._create.decode(await request.body()).wish()
        except msgspec.DecodeError as error:
            raise bad_body(error) from error
        _check(wish.endpoint, self._dialect.batch_endpoints, "endpoint")
        if wish.window is not None:
            _check(wish.window, self._dialect.completion_windows, "completion_window")
        now = self._clock()
        source = find_file(self._store, wish.input_file_id, now=now)
        check_processed(source, now=now)
        if source.purpose is not Purpose.INPUT:
            message = f"File {source.id} is the result of a batch, not the input of one."
            raise RefusedError(400, message, code="invalid_value", param="input_file_id")
        batch = BatchRecord(
            id=self._new_id(),
            input_file_id=source.id,
            input_bytes=source.bytes,
            endpoint=wish.endpoint,
            completion_window=wish.window or "24h",
            metadata=wish.metadata,
            model=wish.model,
            created_at=now,
            seconds=self._emulator.settings.batch_seconds,
            faults=self._emulator.faults.take_batch(),
            line_faults=self._emulator.faults.take_lines(),
        )
        batch = await self._within_limit(batch)
        swap = batch.fault(SwappedFile)
        if swap is not None:
            copy = await self._copy(source, now=now)
            metadata = batch.metadata if swap.metadata else None
            batch = msgspec.structs.replace(batch, input_file_id=copy.id, input_bytes=copy.bytes, metadata=metadata)
        repeats = batch.fault(RepeatedCreate)
        batches = [batch, *self._repeated(batch, 0 if repeats is None else repeats.times)]
        with self._store.transaction():
            for one in batches:
                os.link(self._store.path(one.input_file_id), self._store.path(input_name(one.id)))
                self._store.batches.add(one)
                self._emulator.ledger.add_batch(one)
        for one in batches:
            self._emulator.runner.start(one.id)
        shown = batches[-1 if repeats is not None and repeats.reply == "last" else 0]
        reply = self._dialect.create_reply(batch_reply(shown, self._dialect))
        return json_reply(reply, status=self._dialect.create_status)

    async def list(self, request: Request) -> Response:
        """One page of batches, newest first."""
        now = self._clock()

        def render(batch: BatchRecord) -> Reply | None:
            return batch_reply(batch, self._dialect) if is_listed(batch, self._dialect, now=now) else None

        shelf = self._store.batches
        page = list_page(request, shelf, self._dialect.paging, render, what="Batch", default=20, most=100)
        return json_reply(self._dialect.list_reply(page))

    async def get(self, request: Request) -> Response:
        """One batch."""
        now = self._clock()
        batch = self._find(request, now=now)
        if counts_looks(batch):
            looked = self._store.batches.update(batch.id, lambda one: msgspec.structs.replace(one, looks=one.looks + 1))
            batch = looked or batch
            if is_missed(batch) or is_forgotten(batch, now=now):
                raise not_found("Batch", batch.id)
        return json_reply(self._dialect.get_reply(batch_reply(batch, self._dialect)))

    async def cancel(self, request: Request) -> Response:
        """Stop a batch; a second cancel changes nothing, a cancel after the end is refused."""
        now = self._clock()
        found = self._find(request, now=now)

        def change(batch: BatchRecord) -> BatchRecord:
            if batch.is_over:
                message = f"Cannot cancel a batch with status '{batch.phase}'."
                raise RefusedError(409, message)
            return batch if batch.phase is Phase.CANCELLING else batch.enter(Phase.CANCELLING, now)

        batch = self._store.batches.update(found.id, change)
        return json_reply(self._dialect.get_reply(batch_reply(batch or found, self._dialect)))

    async def delete(self, request: Request) -> Response:
        """Forget a batch that has ended; its files stay."""
        batch = self._find(request, now=self._clock())
        if not batch.is_over:
            message = f"Cannot delete a batch with status '{batch.phase}': wait for its end or cancel it."
            raise RefusedError(409, message)
        self._store.batches.delete(batch.id)
        return deleted_reply(self._dialect, "batch", batch.id)

    async def results(self, request: Request) -> Response:
        """All lines of both result files that the batch has written so far."""
        # One transaction: the lines served are exactly the lines billed.
        with self._store.transaction():
            batch = self._find(request, now=self._clock())
            if not is_reply_lost(request.scope):
                self._emulator.ledger.add_served(batch.id)
        names = {result_file_id(batch.id, kind, self._dialect): size for kind, size in batch.result_bytes.items()}
        files = [(path, size) for name, size in names.items() if (path := self._store.path(name)).exists()]
        headers = {"x-incomplete": str(not batch.is_over).lower()}
        lines = merged_lines(files, self._dialect.merged_line)
        if self._dialect.content_form != "lines":
            made = in_form(b"".join(lines), self._dialect.content_form)
            return Response(made, media_type="application/octet-stream", headers=headers)
        return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)

    async def _within_limit(self, batch: BatchRecord) -> BatchRecord:
        """The batch as a limit on enqueued tokens has it: counted, or about to fail. Raises RefusedError."""
        limit = batch.fault(EnqueuedLimit)
        if limit is None:
            return batch
        tokens = await asyncio.to_thread(tokens_of, self._store.path(batch.input_file_id))
        if tokens + enqueued_in(self._store) <= limit.tokens:
            return msgspec.structs.replace(batch, enqueued_tokens=tokens)
        words = refusal_words(limit, batch.model)
        if limit.at == "create":
            raise RefusedError(limit.status, words, code=limit.code, kind="rate_limit_error")
        return msgspec.structs.replace(batch, faults=(*batch.faults, Failed(code=limit.code, message=words)))

    def _new_id(self) -> str:
        return self._dialect.batch_id(secrets.token_hex(12))

    def _repeated(self, batch: BatchRecord, times: int) -> Iterator[BatchRecord]:
        for _ in range(times):
            yield msgspec.structs.replace(batch, id=self._new_id(), repeat_of=batch.id)

    async def _copy(self, source: FileRecord, *, now: float) -> FileRecord:
        """A gateway's copy of an input file: the same requests in other bytes, as one more file."""
        name = self._dialect.file_id(secrets.token_hex(12))
        size = await asyncio.to_thread(rewrite_lines, self._store.path(source.id), self._store.path(name))
        copy = msgspec.structs.replace(source, id=name, bytes=size, created_at=now, faults=(), looks=0)
        with self._store.transaction():
            self._store.files.add(copy)
            self._emulator.ledger.count("files_copied")
        return copy

    def _find(self, request: Request, *, now: float) -> BatchRecord:
        name = request.path_params["id"]
        batch = self._store.batches.get(name)
        if batch is None:
            missing = not_found("Batch", name)
            missing.status = self._dialect.gone_status if self._emulator.ledger.knows_batch(name) else 404
            raise missing
        if is_forgotten(batch, now=now):
            raise not_found("Batch", name)
        return batch


def _check(value: str, allowed: Collection[str], param: str) -> None:
    if value not in allowed:
        message = f"Invalid value for '{param}': expected one of {sorted(allowed)}, got '{value}'."
        raise RefusedError(400, message, code="invalid_value", param=param)
