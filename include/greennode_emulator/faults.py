"""Faults of endpoints: armed over the control API, taken by the gate, acted out around the application."""

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Annotated, Any, Literal

import msgspec

from greennode_emulator.connections import reset_connection
from greennode_emulator.endpoints import Endpoint

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class EndpointFault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The next `count` calls of an endpoint go wrong.

    `reset_after`: the request is carried out in full, then the connection is reset without a byte of reply.
    """

    endpoint: Endpoint
    kind: Literal["reset_after"]
    count: Annotated[int, msgspec.Meta(ge=1)] = 1


class FaultBoard:
    """What is still armed, in the order in which it will strike."""

    def __init__(self) -> None:
        self._armed: list[EndpointFault] = []

    def arm(self, faults: Collection[EndpointFault]) -> None:
        """Add faults behind those that are armed already."""
        self._armed.extend(faults)

    def armed(self) -> list[EndpointFault]:
        """Those that have not struck yet, with the counts that are left."""
        return list(self._armed)

    def take(self, endpoint: Endpoint) -> EndpointFault | None:
        """The fault for this call, used up by one."""
        for index, fault in enumerate(self._armed):
            if fault.endpoint is endpoint:
                if fault.count == 1:
                    del self._armed[index]
                else:
                    self._armed[index] = msgspec.structs.replace(fault, count=fault.count - 1)
                return fault
        return None

    def clear(self) -> None:
        """Disarm everything."""
        self._armed.clear()


async def _reset_after(app: App, scope: Scope, receive: Receive, _send: Send) -> None:
    async def swallow(message: Message) -> None:
        pass

    await app(scope, receive, swallow)
    reset_connection(scope)
    # The server would send a 500 in place of the missing reply if we returned before it saw the end.
    while (await receive())["type"] != "http.disconnect":
        pass


_ACTS: dict[str, Callable[[App, Scope, Receive, Send], Awaitable[None]]] = {"reset_after": _reset_after}


async def act_out(fault: EndpointFault, app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one call in the way the fault says."""
    await _ACTS[fault.kind](app, scope, receive, send)
