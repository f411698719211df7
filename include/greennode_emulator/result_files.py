"""The result files of a batch: written a chunk at a time, and made visible at its end."""

import codecs
import io
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import msgspec

from greennode_emulator.dialects.dialect import Dialect, Reply, ResultForm
from greennode_emulator.faults.batch_faults import Bom, Crlf, EmptyErrorFile, IdsEarly, NoFinalNewline, Utf16
from greennode_emulator.records import BatchRecord, FileRecord, Purpose
from greennode_emulator.store import Store


def result_file_id(batch_id: str, kind: str, dialect: Dialect) -> str:
    """The id of a result file; the same after a restart."""
    return dialect.file_id(blake2b(f"{kind} {batch_id}".encode(), digest_size=12).hexdigest())


@dataclass(frozen=True)
class _Dress:
    """The bytes that belong to no line."""

    start: bytes = b""
    newline: bytes = b"\n"
    ends_last_line: bool = True
    utf16: bool = False

    def dress(self, lines: list[bytes], *, first: bool) -> bytes:
        """A chunk of lines as written to the file."""
        text = self.newline.join(lines)
        text = text + self.newline if self.ends_last_line else text if first else self.newline + text
        if self.utf16:
            text = text.decode(errors="replace").encode("utf-16-le")
        return self.start + text if first else text


def in_form(lines: bytes, form: ResultForm) -> bytes:
    """The lines of a result file as another kind of file."""
    array = b"[" + b",\n".join(lines.splitlines()) + b"]"
    match form:
        case "lines":
            return lines
        case "array":
            return array
        case "wrapped":
            return b'{"code":0,"message":"success","data":{"items":' + array + b"}}"
        case "zip":
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("results.jsonl", lines)
            return packed.getvalue()


def merged_lines(files: Iterable[tuple[Path, int]], merge: Callable[[Reply], Reply]) -> Iterator[bytes]:
    """The lines of the first bytes of several files, in another shape; lines that are not ours stay unchanged."""
    for path, size in files:
        with path.open("rb") as file:
            while line := file.readline(size - file.tell()):
                try:
                    yield msgspec.json.encode(merge(msgspec.json.decode(line))) + b"\n"
                except (msgspec.DecodeError, KeyError, TypeError):
                    yield line


class ResultFiles:
    """The output and the error file of one batch."""

    def __init__(self, batch: BatchRecord, *, store: Store, dialect: Dialect) -> None:
        self._batch_id = batch.id
        self._store = store
        self._dialect = dialect
        utf16 = batch.fault(Utf16) is not None
        self._dress = _Dress(
            start=codecs.BOM_UTF16_LE if utf16 else codecs.BOM_UTF8 if batch.fault(Bom) else b"",
            newline=b"\r\n" if batch.fault(Crlf) else b"\n",
            ends_last_line=batch.fault(NoFinalNewline) is None,
            utf16=utf16,
        )

    def write(self, kind: str, committed: int, lines: list[bytes]) -> int:
        """Append lines after the committed part; cut off what a killed process wrote after it. Return the new size."""
        if not lines:
            return committed
        text = self._dress.dress(lines, first=committed == 0)
        with self._store.path(self._id(kind)).open("ab") as file:
            file.truncate(committed)
            file.write(text)
        # Not tell(): it still counts the bytes that were cut off.
        return committed + len(text)

    def publish(self, batch: BatchRecord, now: float) -> BatchRecord:
        """Make the files visible, each only if it is not empty."""
        ids: dict[str, str | None] = {}
        early = batch.fault(IdsEarly)
        for kind, size in batch.result_bytes.items():
            forced = kind == "error" and batch.fault(EmptyErrorFile) is not None
            ids[kind] = self._id(kind) if size or forced else None
            if size or forced:
                path = self._store.path(self._id(kind))
                path.touch()
                os.truncate(path, size)
                self._store.files.add(
                    FileRecord(
                        id=self._id(kind),
                        filename=f"{batch.id}_{kind}.jsonl",
                        purpose=Purpose.OUTPUT,
                        bytes=size,
                        created_at=now,
                        readable_at=now + (early.seconds if early else 0),
                        answers_of=batch.id if kind == "output" else None,
                    )
                )
        return msgspec.structs.replace(batch, output_file_id=ids["output"], error_file_id=ids["error"])

    def _id(self, kind: str) -> str:
        return result_file_id(self._batch_id, kind, self._dialect)
