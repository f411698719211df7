"""Exclusive creation: of all workers that want to make one file, at most one is told that it made it.

On local disk a hard link decides, and a rename that replaces nothing where the file system has no links (SMB, Azure
Files); in an object store a conditional put (`If-None-Match: *`). Some stores take that condition and ignore it. A
self-test finds them, once a process and store; there candidates decide: see `_Candidate`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from upath import UPath

from greennode_batch.errors import ConfigError
from greennode_batch.staging.folders import local_path, readable_json, uncached, written_beside
from greennode_batch.wording import given_by

log = logging.getLogger(__name__)

SETTLE_SECONDS = 3.0
"""How long a put may take, and a worker be held up, in a store that ignores conditional puts."""
_TRIES = 10
# s3fs makes it a FileExistsError only where the reply names the condition, as Amazon's does and others' do not.
_EXISTS_CODES = {"PreconditionFailed", "412"}
_NO_CONDITIONS_CODES = {"NotImplemented", "501"}

# What file systems and kernels say of a call that they do not have.
_NOT_OFFERED = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1

_honours: dict[tuple[str, ...], bool] = {}
_testing = threading.Lock()


def create_exclusive(path: UPath, value: Any) -> bool:
    """Write a small JSON file only if nobody has; whether this call was the one that did.

    After a False the file is there, whole. It may be that nobody was told True, if its maker was killed or a reply
    was lost: to the others that looks like a worker that was killed right after.
    """
    data = readable_json(value)
    local = local_path(path)
    if local is not None:
        return _link(local, data)
    if honours_conditions(path):
        return _put_new(path, data)
    return _Candidate(path, data).stand()


def check_exclusive(folder: UPath) -> None:
    """Raise ConfigError if files on local disk cannot be made exclusively in a folder of staging.

    Call it before anything is paid. A store is tried with the first file that is made there.
    """
    if local_path(folder) is None:
        return
    probe = folder / f".probe.{uuid.uuid4().hex}"
    try:
        if not create_exclusive(probe, {}) or create_exclusive(probe, {}):
            raise _refusal(probe, "says that two workers have both made one file")
    finally:
        probe.unlink(missing_ok=True)


def honours_conditions(path: UPath) -> bool:
    """Whether the path's store refuses to put what is there already, if asked to. Tried once a process and store."""
    store = _store(path)
    with _testing:
        if store not in _honours:
            _honours[store] = _refuses_a_second_put(path)
            if not _honours[store]:
                log.warning(
                    "The store of %s ignores conditional puts (If-None-Match). Nothing is sent twice for that, but "
                    "each shard's batch is created some %.0f s later",
                    path,
                    SETTLE_SECONDS,
                )
        return _honours[store]


def _store(path: UPath) -> tuple[str, ...]:
    options = path.fs.storage_options
    endpoint = options.get("endpoint_url") or options.get("client_kwargs", {}).get("endpoint_url")
    return path.protocol, path.path.lstrip("/").partition("/")[0], str(endpoint)


def _refuses_a_second_put(path: UPath) -> bool:
    probe = path.with_name(f".probe.{uuid.uuid4().hex}")
    try:
        # A first put that is refused was sent again after its reply was lost: that tells as much.
        return not (_put_new(probe, b"{}") and _put_new(probe, b"{}"))
    except OSError as error:
        if _code(error) in _NO_CONDITIONS_CODES:
            return False
        raise
    finally:
        path.fs.rm_file(probe.path)


def _put_new(path: UPath, data: bytes) -> bool:
    try:
        path.fs.pipe_file(path.path, data, mode="create")
    except FileExistsError:
        return False
    except OSError as error:
        if _code(error) in _EXISTS_CODES:
            return False
        raise
    return True


def _code(error: OSError) -> str:
    """What the store itself called the error."""
    response: dict[str, Any] = getattr(error.__cause__, "response", {})
    return str(response.get("Error", {}).get("Code"))


def _link(local: Path, data: bytes) -> bool:
    with written_beside(local, data) as beside:
        try:
            # A hard link to a whole file is exclusive and atomic; O_EXCL alone would show an empty file.
            local.hardlink_to(beside)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NOT_OFFERED:
                raise
            return _rename_new(beside, local)
    return True


def _rename_new(made: Path, local: Path) -> bool:
    """Move a whole file to its place if nothing is there; whether it was moved."""
    code = _rename_noreplace(made, local)
    if code in {0, errno.EEXIST}:
        return not code
    if code in _NOT_OFFERED:
        raise _refusal(local, "has neither hard links nor renames that replace nothing")
    raise OSError(code, os.strerror(code), str(local))


def _rename_noreplace(made: Path, local: Path) -> int:
    """Linux's renameat2, which Python does not have; 0, or the errno of its failure."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return errno.ENOSYS
    done = call(_AT_FDCWD, os.fsencode(made), _AT_FDCWD, os.fsencode(local), _RENAME_NOREPLACE)
    return ctypes.get_errno() if done else 0


def _refusal(path: Path | UPath, what: str) -> ConfigError:
    return ConfigError(
        f"{path.parent}: the file system of this staging folder {what}, so two workers could send one shard, and it "
        f"would be paid for twice. Nothing was sent. Put staging ({given_by('staging', '[greennode] staging')}) on a "
        "local disk, NFS, SMB as Linux mounts it, or in an object store (s3://)"
    )


class _Candidate:
    """One worker's candidate for a file in a store that ignores conditional puts.

    Each worker puts `<path>.<token>` with all that the file is to hold, waits, and lists the candidates: the one that
    the store dates first (then the lowest token) is elected. The elected worker puts the file; the others wait for it
    as long again, and then put its file in its place, for it was killed.

    Why no two are told that they made it: whoever lists early enough sees the other's candidate, and they agree on the
    first. Whoever comes so late that the first did not see them sees the first's candidate, which is older; or it is
    gone, and then the file is there, for a candidate is removed after that, and looked for before. Only a worker that
    is held up between its list and its put for longer than the wait could be overtaken by one that the store's clock
    dates wrongly. An elected worker that finds its file put by others was given up, and is told False like them.
    """

    def __init__(self, path: UPath, data: bytes) -> None:
        self._path = uncached(path)
        self._fs = path.fs
        self._data = data
        self._name = f"{path.name}.{uuid.uuid4().hex}"

    def stand(self) -> bool:
        """Whether this candidate's worker made the file; it is there at the end."""
        if self._is_made():
            return False
        self._put(self._name, self._data)
        time.sleep(SETTLE_SECONDS)
        made = self._settle()
        self._remove(self._name)
        return made

    def _settle(self) -> bool:
        given_up_at = time.monotonic() + SETTLE_SECONDS
        while True:
            elected = self._elected()
            if self._is_made():
                return False
            if elected is None:
                raise FileNotFoundError(
                    f"{self._path}: its candidate {self._name} is not in the store's list {SETTLE_SECONDS:.0f} s after "
                    "it was put. Either the folder was removed meanwhile, or this store cannot hold the staging area"
                )
            if elected == self._name:
                self._put(self._path.name, self._data)
                return True
            if time.monotonic() >= given_up_at:
                self._put_for(elected)
            time.sleep(SETTLE_SECONDS / _TRIES)

    def _put_for(self, elected: str) -> None:
        """Put the file of a worker that was killed before it could."""
        # Its candidate is gone if another worker has just done so.
        with contextlib.suppress(FileNotFoundError):
            self._put(self._path.name, self._fs.cat_file(self._path.with_name(elected).path, max_concurrency=1))
            self._remove(elected)

    def _elected(self) -> str | None:
        """The name of the candidate that was first; None if this worker's own is not among them."""
        try:
            entries = self._fs.ls(self._path.parent.path, detail=True)
        except FileNotFoundError:
            return None
        start = f"{self._path.name}."
        found = [
            (entry["LastModified"], name)
            for entry in entries
            if (name := entry["name"].rpartition("/")[2]).startswith(start)
        ]
        return min(found)[1] if any(name == self._name for _, name in found) else None

    def _is_made(self) -> bool:
        found: bool = self._fs.exists(self._path.path)
        return found

    def _put(self, name: str, data: bytes) -> None:
        self._fs.pipe_file(self._path.with_name(name).path, data)

    def _remove(self, name: str) -> None:
        self._fs.rm_file(self._path.with_name(name).path)
