"""A result file that is not lines: a JSON array, a list in a wrapper, or a ZIP of files. It becomes lines."""

import contextlib
import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from greennode_batch.api.error_body import shorten
from greennode_batch.api.fields import camel, identifier, pick
from greennode_batch.api.results.result_lines import iter_lines
from greennode_batch.api.wire import Page, paging_of

_NAMES = (
    *("data", "items", "records", "results", "result", "list", "lines", "rows", "value", "values", "list_data"),
    *("responses", "outputs", "output", "content", "payload", "batch_results"),
)
_HOLDERS = frozenset({*_NAMES, *map(camel, _NAMES)})
_NOT_HOLDERS = frozenset({"error", "errors", "metadata"})
# What only a line has, or what is in one.
_OF_A_LINE = frozenset({"custom_id", "customId", "response", "choices"})
_MAX_WRAPS = 4
_MAX_FIRST_LINE = 1 << 20
_BOM = b"\xef\xbb\xbf"
_ZIP_MAGIC = b"PK\x03\x04"
_PIECE_BYTES = 1 << 20


class Entry(msgspec.Struct, frozen=True):
    """A result line in a document. id: of its bytes, so that a line that comes twice is known."""

    id: str
    line: bytes


def is_zip(path: Path) -> bool:
    """Whether a file is a ZIP archive."""
    with path.open("rb") as file:
        return file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC


def unzip(path: Path, made: BinaryIO, max_bytes: int) -> bool:
    """Write the files of an archive one after the other; returns whether they have at most `max_bytes`.

    Raises ValueError for an archive that is broken.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.is_dir() or member.filename.startswith("__MACOSX/"):
                    continue
                with archive.open(member) as file:
                    while piece := file.read(_PIECE_BYTES):
                        if made.tell() + len(piece) > max_bytes:
                            return False
                        made.write(piece)
                # The next file begins with a new line.
                made.write(b"\n")
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise ValueError(shorten(str(error), 200)) from None
    return True


def may_be_document(path: Path) -> bool:
    """Whether a file may be one JSON document, by its first line: it begins an array or an object, and is not whole."""
    with path.open("rb") as file:
        first = file.readline(_MAX_FIRST_LINE).removeprefix(_BOM).strip()
        if not first.startswith(b"{") or not file.readline(_MAX_FIRST_LINE).strip():
            return first.startswith((b"[", b"{"))
    try:
        msgspec.json.decode(first, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return True
    return False


def read_document(data: bytes, *, id_path: str | None = None) -> Page[Entry] | None:
    """The result lines in a JSON document, as a page of a list; None if it holds no list, or is a line itself.

    id_path: where a line has the request's id, in a profile. Holds the document and its lines.
    """
    level: bytes | msgspec.Raw = data.removeprefix(_BOM)
    around: dict[str, Any] = {}
    with contextlib.suppress(msgspec.DecodeError, UnicodeError, RecursionError):
        for _ in range(_MAX_WRAPS):
            kind = _first_byte(level)
            if kind == b"[":
                return _page(around, _lines_of(level))
            if kind == b'"':
                level = msgspec.json.decode(level, type=str).encode().strip()
                if level.startswith(b"{"):
                    return _page(around, iter_lines(io.BytesIO(level)))
                continue
            values = msgspec.json.decode(level, type=dict[str, msgspec.Raw]) if kind == b"{" else {}
            inner = None if _is_line(values, id_path) else _inside(values, id_path)
            if inner is None:
                return None
            around |= {name: _small(value) for name, value in values.items() if value is not inner}
            level = inner
    return None


def has_more(page: Page[Entry]) -> bool:
    """Whether a page says that it is one of several."""
    return page.has_more is True or (page.total or 0) > page.entries or (page.pages or 0) > 1


def is_whole(page: Page[Entry]) -> bool:
    """Whether a page says that it is the only one."""
    return not has_more(page) and (page.has_more is False or page.total == page.entries or page.pages == 1)


def _page(around: dict[str, Any], lines: Iterable[bytes]) -> Page[Entry]:
    entries = [Entry(hashlib.blake2b(line, digest_size=12).hexdigest(), line) for line in lines]
    page = paging_of(around, tuple(entries), len(entries))
    if page.next_cursor is not None or not entries:
        return page
    last = _small(msgspec.Raw(entries[-1].line))
    cursor = identifier(pick(last, "id", "custom_id")) if isinstance(last, dict) else None
    return msgspec.structs.replace(page, next_cursor=cursor)


def _lines_of(array: bytes | msgspec.Raw) -> Iterator[bytes]:
    for entry in msgspec.json.decode(array, type=list[msgspec.Raw]):
        # A line end inside JSON stands between its parts: in a string it is escaped.
        yield bytes(entry).replace(b"\r", b" ").replace(b"\n", b" ")


def _is_line(values: dict[str, msgspec.Raw], id_path: str | None) -> bool:
    if not _OF_A_LINE.isdisjoint(values):
        return True
    if id_path is None:
        return False
    name, _, rest = id_path.partition(".")
    value = values.get(name)
    if value is None or not rest:
        return value is not None
    if _first_byte(value) != b"{":
        return False
    return _is_line(msgspec.json.decode(value, type=dict[str, msgspec.Raw]), rest)


def _inside(values: dict[str, msgspec.Raw], id_path: str | None) -> msgspec.Raw | None:
    """What may hold the lines: by its name, or for it is the only list of lines, or the only object there."""
    others = {name: value for name, value in values.items() if name not in _NOT_HOLDERS}
    named = [value for name, value in others.items() if name in _HOLDERS]
    for first in (b"[", b"{"):
        if found := [value for value in named if _first_byte(value) == first]:
            return found[0]
        found = [value for value in others.values() if _first_byte(value) == first]
        if len(found) == 1 and (first == b"{" or _begins_with_a_line(found[0], id_path)):
            return found[0]
    return next((value for value in named if _first_byte(value) == b'"' and bytes(value)[1:2] in {b"{", b"["}), None)


def _begins_with_a_line(array: msgspec.Raw, id_path: str | None) -> bool:
    entries = msgspec.json.decode(array, type=list[msgspec.Raw])
    if not entries or _first_byte(entries[0]) != b"{":
        return False
    return _is_line(msgspec.json.decode(entries[0], type=dict[str, msgspec.Raw]), id_path)


def _small(value: msgspec.Raw) -> Any:
    """A value beside the lines, None if it is large."""
    with contextlib.suppress(msgspec.DecodeError, RecursionError):
        return msgspec.json.decode(value) if len(bytes(value)) < _MAX_FIRST_LINE else None
    return None


def _first_byte(data: bytes | msgspec.Raw) -> bytes:
    return bytes(memoryview(data)[:64]).lstrip()[:1]
