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
from greennode_batch.api.downloads import as_lines, download, named_url, whole_file, write_bounded
from greennode_batch.api.exchange import Call, Loss, Lost, Operation, Reply, Wait, drive, run
from greennode_batch.api.network import Deadline, bounded, tls_context
from greennode_batch.api.paging import NOT_WHOLE, Item, Pager
from greennode_batch.api.profile import ApiProfile
from greennode_batch.api.results.result_line import ResultLine
from greennode_batch.api.retries import MAX_TRIES
from greennode_batch.api.wire import Batch, Model, RemoteFile
from greennode_batch.errors import ApiError, RejectedError

__all__ = ["AsyncGreenNodeClient", "GreenNodeClient"]

log = logging.getLogger(__name__)

T = TypeVar("T")
# Of about 1 KiB each, a page stays far below the limit of a reply.
_RESULTS_A_PAGE = 500


class GreenNodeClient:
    """GreenNode's Files, Batches, Models and chat over HTTP, with one connection pool.

    Errors are ApiErrors, named for the caller's next move. The client repeats calls that are safe to repeat, with
    growing pauses; it never repeats a create or a chat. `timeout`: seconds for an ordinary call, from its first byte
    to its last (chats get a multiple of it, files more by their size). `max_tries`: how often a call that is safe to
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

        def make_async(max_connections: int) -> AsyncGreenNodeClient:
            return AsyncGreenNodeClient(
                base_url,
                api_key,
                profile=profile,
                allow_http_hosts=allow_http_hosts,
                timeout=timeout,
                max_connections=max_connections,
            )

        self._make_async = make_async
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
        """The profile: the format of this client's requests."""
        return self._connection.profile

    @property
    def base_url(self) -> str:
        """The address of the API."""
        return self._connection.base_url

    @property
    def host(self) -> str:
        """The host of the API, which stores the files and batches of this client."""
        return self._connection.host

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def upload_file(self, path: Path, *, filename: str | None = None) -> RemoteFile:
        """Upload a file of request lines. Holds one chunk.

        If an upload gets no reply, it is sent again (at most twice, each time with a warning in the log). The store may
        then hold a second copy: it costs nothing, and `list_files` shows it under the same filename.
        """
        return self._run(self._operations.upload_file(path, filename=filename))

    def get_file(self, file_id: str) -> RemoteFile:
        """Metadata and processing status of a file."""
        return self._run(self._operations.get_file(file_id))

    def list_files(self, *, limit: int = 100) -> Iterator[RemoteFile]:
        """Yield every file in the store; fetches the next page of `limit` entries when the caller needs it."""
        return self._items(self._operations.files(limit))

    def delete_file(self, file_id: str) -> None:
        """Delete a file. A file that no longer exists is not an error."""
        self._run(self._operations.delete_file(file_id))

    def create_batch(
        self,
        input_file_id: str,
        *,
        metadata: Mapping[str, str] | None = None,
        model: str | None = None,
        not_after: float | None = None,
    ) -> Batch:
        """Create a batch, once. AmbiguousError: it may exist; list and match before you create another.

        `metadata` and `model` are sent only if the profile says that the API accepts them. `not_after`: epoch seconds
        by the client's clock; a request that is not on its way by this time is not sent (RetryableError).
        """
        create = self._operations.create_batch(input_file_id, metadata, model, not_after=not_after)
        return self._connection.note(self._run(create))

    def get_batch(self, batch_id: str) -> Batch:
        """The current state of a batch."""
        return self._connection.note(self._run(self._operations.get_batch(batch_id)))

    def list_batches(self, *, limit: int = 100) -> Iterator[Batch]:
        """Yield every batch; fetches the next page of `limit` entries when the caller needs it."""
        return self._items(self._operations.batches(limit))

    def cancel_batch(self, batch_id: str) -> Batch | None:
        """Request that a batch is cancelled.

        Returns None if the API declines (400, 409: the batch has finished or, with some APIs, has not begun) or if its
        reply shows no batch; poll the batch to see its state.
        """
        batch = self._run(self._operations.cancel_batch(batch_id))
        return None if batch is None else self._connection.note(batch)

    def delete_batch(self, batch_id: str) -> None:
        """Delete a batch permanently. A batch that no longer exists is not an error. Save its results first."""
        self._run(self._operations.delete_batch(batch_id))

    def download_file(self, file_id: str, destination: Path, *, max_bytes: int = bounds.MAX_FILE_BYTES) -> int:
        """Download a file to `destination`, complete or not at all; returns its size in bytes.

        A file larger than `max_bytes` (decompressed) is given up: RejectedError with the code `over_bound`. If the
        server answers with JSON that holds the file's URL, the client follows it; another host never gets the key.
        """
        if file_id.startswith(("https://", "http://")):
            url = file_id
        elif self.profile.result_style == "url":
            url = self._run(self._operations.file_url(file_id))
        else:
            url = str(self._connection.url(self._operations.content_path(file_id)))
        what = f"download file {file_id.partition('?')[0]}"
        size = self._download(url, destination, what, max_bytes)
        if size is None:
            destination.unlink()
            raise RejectedError(
                f"{what}: the server shows one page of its lines, and says that there are more. To read all pages, set "
                "result_style 'results' and results_path in the connection's profile",
                code=NOT_WHOLE,
            )
        return size

    def download_results(
        self,
        batch: Batch,
        which: Literal["output", "error"],
        destination: Path,
        *,
        max_bytes: int = bounds.MAX_FILE_BYTES,
    ) -> int | None:
        """Download a batch's output or error file to `destination`; None if the batch has no such file.

        `max_bytes` as for `download_file`. If the API has one list of results for a batch, this list is the output, and
        there is no error file.
        """
        if self.profile.result_style == "results":
            if which == "error":
                return None
            url = str(self._connection.url(self._operations.results_path(batch.id)))
            what = f"download results of batch {batch.id}"
            size = self._download(url, destination, what, max_bytes, may_have_pages=True)
            return size if size is not None else self._download_pages(batch.id, destination, what, max_bytes)
        file_id = batch.output_file_id if which == "output" else batch.error_file_id
        return None if file_id is None else self.download_file(file_id, destination, max_bytes=max_bytes)

    def list_models(self) -> list[Model]:
        """Every model that the key can use."""
        return self._run(self._operations.list_models())

    def chat(self, body: Mapping[str, Any]) -> ResultLine:
        """One real-time chat completion, at the full price. Never repeated here."""
        return self._run(self._operations.chat(body))

    def for_live_answers(self, max_connections: int) -> AsyncGreenNodeClient:
        """A client of the same server for many live answers at once. Close it in its event loop."""
        return self._make_async(max_connections)

    def _items(self, pager: Pager[Item]) -> Iterator[Item]:
        while (operation := pager.next_page()) is not None:
            yield from pager.take(self._run(operation))

    def _download(
        self, url: str, destination: Path, what: str, max_bytes: int, *, may_have_pages: bool = False
    ) -> int | None:
        """A file as lines, whatever form the server gives it; None if it is, or may be, a page of them."""
        size = self._download_one(url, destination, what, max_bytes)
        named = named_url(destination, self.profile.file_fields.get("url"))
        if named is not None:
            log.info("%s: the server answers with another URL for the file; following it", what)
            # Complete or not at all: the JSON that names the file is not the file.
            destination.unlink()
            size = self._download_one(named, destination, what, max_bytes)
        id_path = self.profile.result_fields.get("custom_id")
        try:
            return as_lines(destination, size, what, max_bytes, id_path=id_path, may_have_pages=may_have_pages)
        except ApiError:
            destination.unlink(missing_ok=True)
            raise

    def _download_pages(self, batch_id: str, destination: Path, what: str, max_bytes: int) -> int:
        """All pages of a batch's results, from the first, in one file."""
        with whole_file(destination) as file:
            for entry in self._items(self._operations.results(batch_id, _RESULTS_A_PAGE)):
                write_bounded(file, entry.line, what, max_bytes)
            return file.tell()

    def _download_one(self, url: str, destination: Path, what: str, max_bytes: int) -> int:
        return download(
            self._http, self._connection, url, destination, what=what, max_bytes=max_bytes, sleep=self._sleep
        )

    def _run(self, operation: Operation[T]) -> T:
        steps = run(operation, self._connection.key.redact, max_tries=self._max_tries, now=self._connection.clock)
        return drive(steps, send=self._send, wait=self._wait)

    def _wait(self, step: Wait) -> None:
        log.warning("%s; trying again in %.1f s", step.reason, step.seconds)
        self._sleep(step.seconds)

    def _send(self, call: Call) -> Reply | Lost:
        if call.not_after is not None and self._connection.clock() > call.not_after:
            return Lost(Loss.NOT_SENT, "this process was paused for too long; another one may have taken over")
        more = bounds.file_seconds(call.upload.file_bytes) if call.upload is not None else 0.0
        return stream_reply(self._http, self._connection.request(call), Deadline(call.deadline_seconds + more))
