"""GreenNodeClient, and AsyncGreenNodeClient beside it: thin drivers of `protocol` over httpx."""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import httpx

from greennode_batch.api import bounds
from greennode_batch.api.async_client import AsyncGreenNodeClient
from greennode_batch.api.connection import (
    DEFAULT_TIMEOUT_SECONDS,
    MAX_CONNECTIONS,
    Connection,
    stream_reply,
)
from greennode_batch.api.downloads import download, named_url
from greennode_batch.api.exchange import Call, Loss, Lost, Operation, Reply, Wait, drive, run
from greennode_batch.api.network import Deadline, bounded, tls_context
from greennode_batch.api.paging import Item, Pager
from greennode_batch.api.profile import ApiProfile
from greennode_batch.api.results.result_line import ResultLine
from greennode_batch.api.retries import MAX_TRIES
from greennode_batch.api.wire import Batch, Model, RemoteFile

__all__ = ["AsyncGreenNodeClient", "GreenNodeClient"]

log = logging.getLogger(__name__)

T = TypeVar("T")


class GreenNodeClient:
    """GreenNode's Files, Batches, Models and chat over HTTP, with one connection pool.

    Errors are ApiErrors named for the caller's next move. What is safe to repeat is repeated here, with
    growing pauses; a create or a chat never is. `timeout` bounds an ordinary call from its first byte to its last, in
    seconds (chats get a multiple of it, files more by their size); `max_tries` how often a call that is safe to
    repeat is tried.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        profile: ApiProfile | None = None,
        allow_http_hosts: Collection[str] = (),
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        max_tries: int = MAX_TRIES,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = Connection(
            base_url,
            api_key,
            profile=profile or ApiProfile(),
            allow_http_hosts=allow_http_hosts,
            timeout_seconds=timeout,
            clock=clock,
        )
        self._operations = self._connection.operations
        self._max_tries = max_tries
        self._sleep = sleep
        limits = httpx.Limits(max_connections=MAX_CONNECTIONS)
        http = httpx.Client(transport=transport, verify=tls_context(), limits=limits)
        self._http = bounded(http, self._connection.reach)

    def __repr__(self) -> str:
        return f"GreenNodeClient({self._connection!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def profile(self) -> ApiProfile:
        """What this client sends, and how."""
        return self._connection.profile

    @property
    def host(self) -> str:
        """The host of the API: who has the files and batches that this client made."""
        return self._connection.host

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def upload_file(self, path: Path, *, filename: str | None = None) -> RemoteFile:
        """Upload a file of request lines. Holds one chunk.

        An upload that got no reply is sent again (twice at most, each time with a warning in the log), so a
        second copy may lie in the store: it costs nothing, and `list_files` shows it under the same filename.
        """
        return self._run(self._operations.upload_file(path, filename=filename))

    def get_file(self, file_id: str) -> RemoteFile:
        """Metadata and processing status of a file."""
        return self._run(self._operations.get_file(file_id))

    def list_files(self, *, limit: int = 100) -> Iterator[RemoteFile]:
        """Every file in the store, asked for `limit` a page as the caller goes on."""
        return self._items(self._operations.files(limit))

    def delete_file(self, file_id: str) -> None:
        """Delete a file; one that is gone already is fine."""
        self._run(self._operations.delete_file(file_id))

    def create_batch(
        self,
        input_file_id: str,
        *,
        metadata: Mapping[str, str] | None = None,
        model: str | None = None,
        not_after: float | None = None,
    ) -> Batch:
        """Create a batch, once. AmbiguousError: it may exist; list and match before another is created.

        `metadata` and `model` are sent only where the profile says that the API takes them. `not_after`: epoch
        seconds, by the client's clock, by which the request must be on its way, or it is not sent (RetryableError).
        """
        create = self._operations.create_batch(input_file_id, metadata, model, not_after=not_after)
        return self._connection.note(self._run(create))

    def get_batch(self, batch_id: str) -> Batch:
        """A batch as it stands."""
        return self._connection.note(self._run(self._operations.get_batch(batch_id)))

    def list_batches(self, *, limit: int = 100) -> Iterator[Batch]:
        """Every batch, asked for `limit` a page as the caller goes on."""
        return self._items(self._operations.batches(limit))

    def cancel_batch(self, batch_id: str) -> Batch | None:
        """Ask for a batch to be cancelled.

        None where the API declines (400, 409: it has finished, or, with some APIs, has not begun) or its reply
        shows no batch: look at the batch to know how it stands.
        """
        batch = self._run(self._operations.cancel_batch(batch_id))
        return None if batch is None else self._connection.note(batch)

    def delete_batch(self, batch_id: str) -> None:
        """Delete a batch for ever; one that is gone already is fine. First save its results."""
        self._run(self._operations.delete_batch(batch_id))

    def download_file(self, file_id: str, destination: Path, *, max_bytes: int = bounds.MAX_FILE_BYTES) -> int:
        """Bring a file to `destination`, whole or not at all; returns its size in bytes.

        A file that is larger than `max_bytes` (unpacked) is given up: RejectedError with the code `over_bound`. Where
        the server answers with the file's URL in JSON instead, that is followed; another host never gets the key.
        """
        if file_id.startswith(("https://", "http://")):
            url = file_id
        elif self.profile.result_style == "url":
            url = self._run(self._operations.file_url(file_id))
        else:
            url = str(self._connection.url(self._operations.content_path(file_id)))
        return self._download(url, destination, f"download file {file_id.partition('?')[0]}", max_bytes)

    def download_results(
        self,
        batch: Batch,
        which: Literal["output", "error"],
        destination: Path,
        *,
        max_bytes: int = bounds.MAX_FILE_BYTES,
    ) -> int | None:
        """Bring a batch's output or error file to `destination`; None where the batch has no such file.

        `max_bytes` as for `download_file`.
        Where the API has one list of results for a batch, that is the output, and there is no error file.
        """
        if self.profile.result_style == "results":
            if which == "error":
                return None
            url = str(self._connection.url(self._operations.results_path(batch.id)))
            return self._download(url, destination, f"download results of batch {batch.id}", max_bytes)
        file_id = batch.output_file_id if which == "output" else batch.error_file_id
        return None if file_id is None else self.download_file(file_id, destination, max_bytes=max_bytes)

    def list_models(self) -> list[Model]:
        """Every model that the key may use."""
        return self._run(self._operations.list_models())

    def chat(self, body: Mapping[str, Any]) -> ResultLine:
        """One chat completion in real time, at the full price. Never repeated here."""
        return self._run(self._operations.chat(body))

    def _items(self, pager: Pager[Item]) -> Iterator[Item]:
        while (operation := pager.next_page()) is not None:
            yield from pager.take(self._run(operation))

    def _download(self, url: str, destination: Path, what: str, max_bytes: int) -> int:
        size = self._download_one(url, destination, what, max_bytes)
        named = named_url(destination)
        if named is None:
            return size
        log.info("%s: the server names another place for it; following", what)
        # Whole or not at all: where the file is named is not the file.
        destination.unlink()
        return self._download_one(named, destination, what, max_bytes)

    def _download_one(self, url: str, destination: Path, what: str, max_bytes: int) -> int:
        return download(
            self._http, self._connection, url, destination, what=what, max_bytes=max_bytes, sleep=self._sleep
        )

    def _run(self, operation: Operation[T]) -> T:
        steps = run(operation, self._connection.key.redact, max_tries=self._max_tries, now=self._connection.clock)
        return drive(steps, send=self._send, wait=self._wait)

    def _wait(self, step: Wait) -> None:
        log.warning("%s; again in %.1f s", step.reason, step.seconds)
        self._sleep(step.seconds)

    def _send(self, call: Call) -> Reply | Lost:
        if call.not_after is not None and self._connection.clock() > call.not_after:
            return Lost(Loss.NOT_SENT, "this process was held up for too long; another one may have taken over")
        more = bounds.file_seconds(call.upload.file_bytes) if call.upload is not None else 0.0
        return stream_reply(self._http, self._connection.request(call), Deadline(call.deadline_seconds + more))
