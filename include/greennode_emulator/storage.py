"""The object store whose URLs some dialects return: a signature instead of the key, and often another origin."""

import secrets
from hmac import compare_digest

from fastapi import Request

from greennode_emulator.refusals import RefusedError

STORAGE_PREFIX = "/_storage"
_KEY_HEADERS = frozenset({"authorization", "apikey", "x-api-key"})


class Storage:
    """Signs and checks URLs. `port`: the second origin, beside the API's."""

    def __init__(self) -> None:
        self.port: int | None = None
        self._signature = secrets.token_urlsafe(16)

    def url(self, request: Request, file_id: str, *, elsewhere: bool = True) -> str:
        """The URL to download a file, or to put it, without a key; `elsewhere`: at the second origin."""
        address = request.url.replace(port=self.port) if elsewhere else request.url
        return f"{address.scheme}://{address.netloc}{STORAGE_PREFIX}/{file_id}?signature={self._signature}"

    def check(self, request: Request) -> None:
        """Refuse a request without a signature and, as object stores do, one with the API's key at the other origin."""
        # Also the headers that other servers of this kind take their keys from.
        if not _KEY_HEADERS.isdisjoint(request.headers) and request.scope["server"][1] == self.port:
            message = "Only one auth mechanism is allowed: the signature, not an Authorization header as well."
            raise RefusedError(400, message, code="InvalidArgument")
        if not compare_digest(request.query_params.get("signature", ""), self._signature):
            raise RefusedError(403, "The signature does not match.", code="SignatureDoesNotMatch")
