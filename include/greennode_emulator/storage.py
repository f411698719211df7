"""The object store that some dialects hand out URLs of: a signature in place of the key, and often another origin."""

import secrets
from hmac import compare_digest

from fastapi import Request

from greennode_emulator.refusals import RefusedError

STORAGE_PREFIX = "/_storage"


class Storage:
    """Signs and checks URLs. `port` is the other origin that it is served at, beside the API."""

    def __init__(self) -> None:
        self.port: int | None = None
        self._signature = secrets.token_urlsafe(16)

    def url(self, request: Request, file_id: str, *, elsewhere: bool = True) -> str:
        """Where a file can be fetched, or put, without a key; `elsewhere`: at the other origin."""
        address = request.url.replace(port=self.port) if elsewhere else request.url
        return f"{address.scheme}://{address.netloc}{STORAGE_PREFIX}/{file_id}?signature={self._signature}"

    def check(self, request: Request) -> None:
        """Refuse a request without a signature; at the other origin one with the API's key too, as object stores do."""
        if "authorization" in request.headers and request.scope["server"][1] == self.port:
            message = "Only one auth mechanism is allowed: the signature, not an Authorization header as well."
            raise RefusedError(400, message, code="InvalidArgument")
        if not compare_digest(request.query_params.get("signature", ""), self._signature):
            raise RefusedError(403, "The signature does not match.", code="SignatureDoesNotMatch")
