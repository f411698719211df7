"""Create, look at, list, cancel and delete batches."""

import os
import secrets
import time
from collections.abc import Collection

import msgspec
from fastapi import Request, Response

from greennode_emulator.batch_work import input_name
from greennode_emulator.core import Emulator
from greennode_emulator.endpoints import Endpoint, Handler
from greennode_emulator.records import TERMINAL, BatchRecord, Phase, Purpose
from greennode_emulator.refusals import RefusedError, bad_body, not_found
from greennode_emulator.replies import json_reply, page_size


class _CreateBatch(msgspec.Struct):
    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None


class BatchRoutes:
    """The handlers of the batch endpoints."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._dialect = emulator.dialect
        self._store = emulator.store

    def handlers(self) -> dict[Endpoint, Handler]:
        """Which handler serves which endpoint."""
        return {
            Endpoint.CREATE_BATCH: self.create,
            Endpoint.LIST_BATCHES: self.list,
            Endpoint.GET_BATCH: self.get,
            Endpoint.CANCEL_BATCH: self.cancel,
            Endpoint.DELETE_BATCH: self.delete,
        }

    async def create(self, request: Request) -> Response:
        """Begin a batch; whether its file is good shows later, in its status."""
        try:
            wish = msgspec.json.decode(await request.body(), type=_CreateBatch)
        except msgspec.DecodeError as error:
            raise bad_body(error) from error
        _check(wish.endpoint, self._dialect.batch_endpoints, "endpoint")
        _check(wish.completion_window, self._dialect.completion_windows, "completion_window")
        source = self._store.files.get(wish.input_file_id)
        if source is None:
            raise not_found("File", wish.input_file_id)
        if source.purpose is not Purpose.INPUT:
            message = f"File {source.id} is the result of a batch, not the input of one."
            raise RefusedError(400, message, code="invalid_value", param="input_file_id")
        batch = BatchRecord(
            id=f"batch_{secrets.token_hex(12)}",
            input_file_id=source.id,
            endpoint=wish.endpoint,
            completion_window=wish.completion_window,
            metadata=wish.metadata,
            created_at=time.time(),
            seconds=self._emulator.settings.batch_seconds,
        )
        os.link(self._store.path(source.id), self._store.path(input_name(batch.id)))
        with self._store.transaction():
            self._store.batches.add(batch)
            self._emulator.ledger.count("batches_created")
        self._emulator.runner.start(batch.id)
        return json_reply(self._dialect.batch_reply(batch))

    async def list(self, request: Request) -> Response:
        """One page of batches, newest first."""
        limit = page_size(request, default=20, most=100)
        after = request.query_params.get("after")
        try:
            batches, more = self._store.batches.newest(limit=limit, after=after)
        except KeyError:
            raise not_found("Batch", str(after)) from None
        return json_reply(self._dialect.list_reply([self._dialect.batch_reply(one) for one in batches], more))

    async def get(self, request: Request) -> Response:
        """One batch."""
        return json_reply(self._dialect.batch_reply(self._find(request)))

    async def cancel(self, request: Request) -> Response:
        """Stop a batch; a second cancel changes nothing, one after its end is refused."""
        found = self._find(request)
        now = time.time()

        def change(batch: BatchRecord) -> BatchRecord:
            if batch.phase in TERMINAL:
                message = f"Cannot cancel a batch with status '{batch.phase}'."
                raise RefusedError(409, message)
            return batch if batch.phase is Phase.CANCELLING else batch.enter(Phase.CANCELLING, now)

        batch = self._store.batches.update(found.id, change)
        return json_reply(self._dialect.batch_reply(batch or found))

    async def delete(self, request: Request) -> Response:
        """Forget a batch that has ended; its files stay."""
        batch = self._find(request)
        if batch.phase not in TERMINAL:
            message = f"Cannot delete a batch with status '{batch.phase}': wait for its end or cancel it."
            raise RefusedError(409, message)
        self._store.batches.delete(batch.id)
        return json_reply(self._dialect.deleted_reply("batch", batch.id))

    def _find(self, request: Request) -> BatchRecord:
        name = request.path_params["id"]
        batch = self._store.batches.get(name)
        if batch is None:
            raise not_found("Batch", name)
        return batch


def _check(value: str, allowed: Collection[str], param: str) -> None:
    if value not in allowed:
        message = f"Invalid value for '{param}': expected one of {sorted(allowed)}, got '{value}'."
        raise RefusedError(400, message, code="invalid_value", param=param)
