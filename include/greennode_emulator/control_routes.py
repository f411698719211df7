"""`/_emulator/`: how tests read and control the emulator itself; the same in every dialect."""

import asyncio

import msgspec
from fastapi import APIRouter, Request, Response

from greennode_emulator.core import Emulator
from greennode_emulator.faults.kinds import read_faults
from greennode_emulator.gate import CONTROL_PREFIX
from greennode_emulator.refusals import bad_body
from greennode_emulator.replies import json_reply


class ControlRoutes:
    """The handlers of the control endpoints."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def router(self) -> APIRouter:
        """All control routes, with their paths."""
        router = APIRouter(prefix=CONTROL_PREFIX)
        router.add_api_route("/health", self.health, methods=["GET"])
        router.add_api_route("/ledger", self.ledger, methods=["GET"])
        router.add_api_route("/faults", self.faults, methods=["GET"])
        router.add_api_route("/faults", self.arm, methods=["POST"])
        router.add_api_route("/faults", self.disarm, methods=["DELETE"])
        router.add_api_route("/reset", self.reset, methods=["POST"])
        return router

    async def health(self, _request: Request) -> Response:
        """Shows that the emulator runs, and which dialect it uses."""
        dialect = self._emulator.dialect
        return json_reply({"status": "ok", "dialect": dialect.name, "description": dialect.description})

    async def ledger(self, request: Request) -> Response:
        """Calls, bills and waste; `?summary=1` leaves out the maps by custom_id."""
        summary = request.query_params.get("summary") == "1"
        # In a thread: grouping the bills of a million lines takes a second.
        now = self._emulator.settings.clock()
        return json_reply(await asyncio.to_thread(self._emulator.ledger.read, now=now, summary=summary))

    async def faults(self, _request: Request) -> Response:
        """The faults that are still armed."""
        return json_reply(self._emulator.faults.armed())

    async def arm(self, request: Request) -> Response:
        """Add a list of faults; the reply lists all that are armed."""
        try:
            faults = read_faults(await request.body())
        except msgspec.DecodeError as error:
            raise bad_body(error) from error
        self._emulator.faults.arm(faults)
        return json_reply(self._emulator.faults.armed())

    async def disarm(self, _request: Request) -> Response:
        """Disarm all faults; batches and files that were struck keep theirs."""
        self._emulator.faults.disarm()
        return json_reply(self._emulator.faults.armed())

    async def reset(self, _request: Request) -> Response:
        """Forget everything, and arm the scenario again if there is one."""
        await self._emulator.reset()
        return json_reply({"status": "ok"})
