"""The operations of the API, by the names that faults, the ledger and the dialects use for them."""

from collections.abc import Awaitable, Callable
from enum import StrEnum

from fastapi import Request, Response

Handler = Callable[[Request], Awaitable[Response]]


class Endpoint(StrEnum):
    """Named after OpenAI's method and path; a dialect may place an operation elsewhere, or lack it.

    STORE and DOWNLOAD belong to no API: they are the object store whose URLs some dialects return.
    """

    UPLOAD_FILE = "POST /files"
    COMMIT_FILE = "POST /files/{id}/complete"
    LIST_FILES = "GET /files"
    GET_FILE = "GET /files/{id}"
    FILE_CONTENT = "GET /files/{id}/content"
    FILE_URL = "GET /files/{id}/url"
    DELETE_FILE = "DELETE /files/{id}"
    CREATE_BATCH = "POST /batches"
    LIST_BATCHES = "GET /batches"
    GET_BATCH = "GET /batches/{id}"
    CANCEL_BATCH = "POST /batches/{id}/cancel"
    DELETE_BATCH = "DELETE /batches/{id}"
    BATCH_RESULTS = "GET /batches/{id}/results"
    LIST_MODELS = "GET /models"
    GET_MODEL = "GET /models/{id}"
    CHAT = "POST /chat/completions"
    STORE = "PUT /_storage/{id}"
    DOWNLOAD = "GET /_storage/{id}"


OF_MODELS = frozenset({Endpoint.LIST_MODELS, Endpoint.GET_MODEL, Endpoint.CHAT})
"""The endpoints of a model server without batches."""
