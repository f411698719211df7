"""A file on its way to the server, as multipart/form-data or as bytes alone, read in large chunks as it is sent."""

import base64
import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from greennode_batch.errors import ConfigError

# Large enough that Python's share of the work is small; httpcore copies what a socket does not accept at once.
CHUNK_BYTES = 256 * 1024
# What a server compares the bytes with that it received; none is for security.
_CHECKSUMS: dict[str, tuple[str, Callable[[bytes], str]]] = {
    "{md5}": ("md5", bytes.hex),
    "{sha256}": ("sha256", bytes.hex),
    "{content_md5}": ("md5", lambda digest: base64.b64encode(digest).decode()),
}


class Upload:
    """A multipart body: the fields, then the file; with fields None the file alone. Each iteration opens it again.

    Holds one chunk.
    """

    def __init__(self, path: Path, *, filename: str | None, fields: Mapping[str, str] | None) -> None:
        self.path = path
        self.filename = filename or path.name
        self.file_bytes = path.stat().st_size
        if fields is None:
            self._head = self._tail = b""
            self.headers = {"content-type": "application/octet-stream", "content-length": str(self.file_bytes)}
            return
        boundary = secrets.token_hex(16)
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        ]
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{_quoted(self.filename)}"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        )
        self._head = "".join(parts).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self.headers = {
            "content-type": f"multipart/form-data; boundary={boundary}",
            "content-length": str(len(self._head) + self.file_bytes + len(self._tail)),
        }

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        left = self.file_bytes
        with self.path.open("rb", buffering=0) as file:
            while left:
                chunk = file.read(min(CHUNK_BYTES, left))
                if not chunk:
                    raise ConfigError(f"{self.path} became shorter while it was sent; nothing was stored")
                left -= len(chunk)
                yield chunk
        yield self._tail


def filled(value: str, path: Path, *, name: str) -> str:
    """The value of a profile's field of an upload, with what it says of the file: its name, size or checksums."""
    value = value.replace("{filename}", name).replace("{bytes}", str(path.stat().st_size))
    for placeholder, (algorithm, encode) in _CHECKSUMS.items():
        if placeholder in value:
            with path.open("rb") as file:
                value = value.replace(placeholder, encode(hashlib.file_digest(file, algorithm).digest()))
    return value


def _quoted(value: str) -> str:
    # The encoding that browsers use (HTML standard, multipart/form-data).
    return value.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
