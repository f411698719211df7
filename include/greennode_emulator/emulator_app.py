"""The application: the dialect's paths connected to their handlers, and the gate around them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route

from greennode_emulator.batch_routes import BatchRoutes
from greennode_emulator.chat_routes import ChatRoutes
from greennode_emulator.control_routes import ControlRoutes
from greennode_emulator.core import Emulator
from greennode_emulator.dialects.dialect import own_route
from greennode_emulator.endpoints import Endpoint, Handler
from greennode_emulator.faults.call_acts import App
from greennode_emulator.file_routes import FileRoutes
from greennode_emulator.gate import Gate
from greennode_emulator.refusals import RefusedError
from greennode_emulator.replies import refusal_reply


def create_app(emulator: Emulator) -> App:
    """The ASGI application of one emulator; its lifespan resumes and stops the batches."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        emulator.runner.resume()
        yield
        await emulator.close()

    # No documentation pages and no schema: the imitated API is documented elsewhere.
    app = FastAPI(openapi_url=None, lifespan=lifespan)
    handlers = {
        **FileRoutes(emulator).handlers(),
        **BatchRoutes(emulator).handlers(),
        **ChatRoutes(emulator).handlers(),
    }
    # Chat first: each call searches the routes twice, and most calls are live answers.
    endpoints = sorted(emulator.dialect.routes, key=lambda endpoint: endpoint is not Endpoint.CHAT)
    prefix, places = emulator.dialect.prefix, emulator.dialect.routes
    routes = [_route((places[one][0], prefix + places[one][1]), one, handlers[one]) for one in endpoints]
    routes += [_route(own_route(one), one, handlers[one]) for one in (Endpoint.STORE, Endpoint.DOWNLOAD)]
    app.router.routes.extend(routes)
    app.include_router(ControlRoutes(emulator).router())

    @app.exception_handler(RefusedError)
    async def refused(_request: Request, error: RefusedError) -> Response:
        return refusal_reply(error, emulator.dialect)

    @app.exception_handler(HTTPException)
    async def no_such_path(request: Request, error: HTTPException) -> Response:
        refusal = RefusedError(error.status_code, f"Invalid URL ({request.method} {request.url.path})")
        return refusal_reply(refusal, emulator.dialect)

    @app.exception_handler(Exception)
    async def broken(_request: Request, error: Exception) -> Response:
        refusal = RefusedError(500, f"The emulator broke down: {error!r}", kind="server_error")
        return refusal_reply(refusal, emulator.dialect)

    return Gate(app, emulator=emulator, routes=list(routes))


def _route(index: tuple[str, str], endpoint: Endpoint, handler: Handler) -> Route:
    method, path = index
    if endpoint is Endpoint.GET_MODEL:
        # A model's id may hold slashes.
        path = path.replace("{id}", "{id:path}")
    # Starlette's route: FastAPI's searches for parameters to inject at each call, and there are none.
    route = Route(path, handler, methods=[method], name=endpoint.value)
    route.methods = {method}
    return route
