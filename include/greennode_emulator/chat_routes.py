"""The models, and live chat completions."""

import asyncio
import random
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from greennode_emulator.core import Emulator
from greennode_emulator.dialects.dialect import Page
from greennode_emulator.endpoints import Endpoint, Handler
from greennode_emulator.faults import line_faults
from greennode_emulator.faults.call_acts import fault_of, is_reply_cut
from greennode_emulator.faults.call_faults import ChatAnswer
from greennode_emulator.faults.line_acts import altered
from greennode_emulator.models import Reply
from greennode_emulator.open_connections import pause
from greennode_emulator.refusals import model_not_found
from greennode_emulator.replies import json_reply, refusal_reply
from greennode_emulator.upstream import LIVE_CONCURRENCY

_ANSWERS: Mapping[str, line_faults.AnyLineFault] = {
    "empty": line_faults.EmptyAnswer(),
    "cut_off": line_faults.CutOff(),
    "content_filter": line_faults.ContentFilter(),
    "wrong_schema": line_faults.WrongSchema(),
}


class ChatRoutes:
    """The handlers of the model and chat endpoints."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._dialect = emulator.dialect
        # asyncio's default pool has few threads, and a live request that waits for a model server holds one.
        self._threads = ThreadPoolExecutor(LIVE_CONCURRENCY, thread_name_prefix="emulator-live")
        # The same latencies after every start.
        self._random = random.Random(0)  # noqa: S311 - a draw, no secret

    def handlers(self) -> dict[Endpoint, Handler]:
        """Which handler serves which endpoint."""
        return {
            Endpoint.LIST_MODELS: self.models,
            Endpoint.GET_MODEL: self.model,
            Endpoint.CHAT: self.chat,
        }

    async def models(self, _request: Request) -> Response:
        """All models."""
        models = [self._dialect.model_reply(name) for name in await self._names()]
        return json_reply(self._dialect.model_list_reply(Page(models, total=len(models))))

    async def model(self, request: Request) -> Response:
        """One model; its id may contain slashes."""
        name = request.path_params["id"]
        if name not in await self._names():
            raise model_not_found(name)
        return json_reply(self._dialect.model_reply(name))

    async def chat(self, request: Request) -> Response:
        """Answer as a batch would, after the latency and within the limits of live answers, and bill it separately."""
        limits, clock = self._emulator.rate_limits, self._emulator.settings.clock
        with self._emulator.ledger.chat_under_way():
            try:
                body = await request.body()
            except ClientDisconnect:
                return Response()  # nobody reads it
            refusal = limits.admit(clock())
            if refusal is None:
                response = json_reply(await self._answer(request, body))
            else:
                self._emulator.ledger.count("chat_requests_refused")
                response = refusal_reply(refusal, self._dialect)
            response.headers.update(limits.headers(clock()))
            return response

    async def _answer(self, request: Request, body: bytes) -> Reply:
        """The answer; it is billed even if its client has disconnected meanwhile."""
        emulator = self._emulator
        question = (msgspec.Raw(body), f"chatcmpl-{secrets.token_hex(12)}", int(emulator.settings.clock()))
        if emulator.model.waits:
            loop = asyncio.get_running_loop()
            reply = await loop.run_in_executor(self._threads, emulator.model.chat, question)
        else:
            reply = emulator.model.chat(question)
        fault = fault_of(request.scope, ChatAnswer)
        if fault is not None:
            reply = altered(_ANSWERS[fault.answer], reply)
        seconds = emulator.settings.chat_latency.draw(self._random)
        stays = not seconds or await pause(request.scope, seconds)
        usage = reply.get("usage") or {}
        tokens = {name: usage.get(name, 0) for name in ("prompt_tokens", "completion_tokens")}
        emulator.rate_limits.use_tokens(sum(tokens.values()))
        emulator.ledger.bill_chat(body, **tokens, lost=not stays or is_reply_cut(request.scope))
        return reply

    async def _names(self) -> Sequence[str]:
        return await asyncio.to_thread(self._emulator.model.names)
