"""The models, and chat completions answered at once."""

import secrets
import time

from fastapi import Request, Response

from greennode_emulator.answers import answer_request
from greennode_emulator.chat_request import decode_chat_request
from greennode_emulator.core import Emulator
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
        models = [self._dialect.model_reply(name) for name in self._emulator.settings.models]
        return json_reply(self._dialect.list_reply(models, False))

    async def model(self, request: Request) -> Response:
        """One model; its id may hold slashes."""
        name = self._known(request.path_params["id"])
        return json_reply(self._dialect.model_reply(name))

    async def chat(self, request: Request) -> Response:
        """Answer as a batch would, and bill it apart."""
        wish = decode_chat_request(await request.body())
        self._known(wish.model)
        answer = answer_request(wish)
        self._emulator.ledger.count("chat_requests_billed")
        name = f"chatcmpl-{secrets.token_hex(12)}"
        return json_reply(self._dialect.chat_reply(wish, answer, name, int(time.time())))

    def _known(self, model: str) -> str:
        if model not in self._emulator.settings.models:
            raise model_not_found(model)
        return model
