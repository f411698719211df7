"""The models, and chat completions answered at once."""

import asyncio
import secrets
from collections.abc import Sequence

import msgspec
from fastapi import Request, Response

from greennode_emulator.core import Emulator
from greennode_emulator.dialects.dialect import Page
from greennode_emulator.endpoints import Endpoint, Handler
from greennode_emulator.refusals import model_not_found
from greennode_emulator.replies import json_reply


class ChatRoutes:
    """The handlers of the model and chat endpoints."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._dialect = emulator.dialect

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
        """One model; its id may hold slashes."""
        name = request.path_params["id"]
        if name not in await self._names():
            raise model_not_found(name)
        return json_reply(self._dialect.model_reply(name))

    async def chat(self, request: Request) -> Response:
        """Answer as a batch would, and bill it apart."""
        body = msgspec.Raw(await request.body())
        question = (body, f"chatcmpl-{secrets.token_hex(12)}", int(self._emulator.settings.clock()))
        # In a thread: a model server may take its time.
        reply = await asyncio.to_thread(self._emulator.model.chat, question)
        self._emulator.ledger.count("chat_requests_billed")
        return json_reply(reply)

    async def _names(self) -> Sequence[str]:
        return await asyncio.to_thread(self._emulator.model.names)
