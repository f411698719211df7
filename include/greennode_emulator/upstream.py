"""A real model server that answers instead of the emulator: Ollama, vLLM, SGLang or any other with OpenAI's API."""

import ssl
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from greennode_emulator.models import Question, Reply
from greennode_emulator.refusals import RefusedError

CONCURRENCY = 8
LIVE_CONCURRENCY = 64
# A model on a laptop may think for minutes.
_READ_SECONDS = 600


class UpstreamModel:
    """Passes requests on, a few at a time."""

    # A step lasts as long as its slowest answer, and a cancel waits for the step.
    lines_a_step = CONCURRENCY
    waits = True

    def __init__(self, base_url: str, *, key: str | None) -> None:
        # A server on this machine or in this network needs no proxy and no certificates, which take 20 ms to load.
        plain = urlsplit(base_url).scheme == "http"
        self._http = httpx.Client(
            base_url=base_url.rstrip("/"),
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(10, read=_READ_SECONDS),
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True,
            trust_env=not plain,
            limits=httpx.Limits(max_connections=CONCURRENCY + LIVE_CONCURRENCY),
        )
        self._threads = ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="emulator-upstream")

    def replies(self, questions: Iterable[Question]) -> Iterator[Reply | RefusedError]:
        """The answer to each, in order."""
        return self._threads.map(self._reply, questions)

    def chat(self, question: Question) -> Reply:
        """The answer to one."""
        body, name, _ = question
        try:
            response = self._http.post("/chat/completions", content=bytes(body), headers=_JSON)
        except httpx.HTTPError as error:
            message = f"The upstream server gave no answer: {type(error).__name__}: {error}"
            raise RefusedError(502, message, code="upstream_unavailable", kind="server_error") from error
        if response.is_error:
            raise _refusal(response)
        reply = _json(response)
        if not isinstance(reply, dict) or not isinstance(reply.get("choices"), list):
            message = f"The upstream server's answer is no chat completion: {response.text[:200]}"
            raise RefusedError(502, message, code="upstream_invalid", kind="server_error")
        return {**reply, "id": reply.get("id") or name}

    def served(self) -> None:
        """The server's own errors name a model that it does not have."""
        return

    def names(self) -> Sequence[str]:
        """The server's list."""
        try:
            response = self._http.get("/models")
        except httpx.HTTPError as error:
            message = f"The upstream server gave no list of models: {type(error).__name__}: {error}"
            raise RefusedError(502, message, code="upstream_unavailable", kind="server_error") from error
        if response.is_error:
            raise _refusal(response)
        reply = _json(response)
        models = reply.get("data") if isinstance(reply, dict) else reply
        return [model["id"] for model in models or [] if isinstance(model, dict) and "id" in model]

    def close(self) -> None:
        """Wait for the answers under way, and close the connections."""
        self._threads.shutdown()
        self._http.close()

    def _reply(self, question: Question) -> Reply | RefusedError:
        try:
            return self.chat(question)
        except RefusedError as refusal:
            return refusal


_JSON = {"content-type": "application/json"}


def _json(response: httpx.Response) -> Any:
    try:
        return msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        return None


def _refusal(response: httpx.Response) -> RefusedError:
    """The server's error, in its own words if it has any."""
    reply = _json(response)
    error = reply.get("error", reply) if isinstance(reply, dict) else None
    if not isinstance(error, dict):
        return RefusedError(response.status_code, str(error or response.text[:500]))
    return RefusedError(
        response.status_code,
        str(error.get("message") or response.text[:500]),
        code=_text(error.get("code")),
        param=_text(error.get("param")),
        kind=_text(error.get("type")) or "invalid_request_error",
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
