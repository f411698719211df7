"""Atomic create-if-absent: of several workers racing to create a file, at most one succeeds.

On local disk this uses a hard link, or a rename that replaces nothing if the file system has no links (SMB, Azure
Files). In an object store it uses a conditional put (`If-None-Match: *`; in Google's, generation 0).
Some stores accept that condition and ignore it. A self-test, once per process and store, detects them; there the
workers elect a candidate (see `_Candidate`).
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
from greennode_batch.staging.folders import local_path, readable_json, uncached, written_at, written_beside
from greennode_batch.wording import given_by

log = logging.getLogger(__name__)

SETTLE_SECONDS = 3.0
"""The longest time that a put or a delay of a worker may take in a store that ignores conditional puts."""
_TRIES = 10
# s3fs raises FileExistsError only if the reply names the condition. Amazon's replies do; those of others do not.
_EXISTS_CODES = {"PreconditionFailed", "412"}
_NO_CONDITIONS_CODES = {"NotImplemented", "501"}

# Errors of file systems and kernels that lack a call.
_NOT_OFFERED = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1

_honours: dict[tuple[str, ...], bool] = {}
_testing = threading.Lock()


def create_exclusive(path: UPath, value: Any) -> bool:
    """Write a small JSON file unless it exists. Returns whether this call created it.

    After False the file exists and is complete. It can happen that no call returns True: if the creator is killed or a
    reply is lost. To the others that is the same as a worker killed right after it created the file.
    """
    data = readable_json(value)
    local = local_path(path)
    if local is not None:
        return _link(local, data)
    if honours_conditions(path):
        return _put_new(path, data)
    return _Candidate(path, data).stand()


def check_exclusive(folder: UPath) -> None:
    """Raise ConfigError if a local staging folder does not support exclusive creation.

    Call it before anything is paid. An object store is tested when the first file is created in it.
    """
    if local_path(folder) is None:
        return
    probe = folder / f".probe.{uuid.uuid4().hex}"
    try:
        if not create_exclusive(probe, {}) or create_exclusive(probe, {}):
            raise _refusal(probe, "reports to two workers that both created the same file")
    finally:
        probe.unlink(missing_ok=True)


def honours_conditions(path: UPath) -> bool:
    """Whether the path's store honours conditional puts. Tested once per process and store."""
    store = _store(path)
    with _testing:
        if store not in _honours:
            _honours[store] = _refuses_a_second_put(path)
            if not _honours[store]:
                log.warning(
                    "The store of %s ignores conditional puts (If-None-Match). Nothing is sent twice because of "
                    "that, but each shard's batch is created about %.0f s later",
                    path,
                    SETTLE_SECONDS,
                )
        return _honours[store]


def _store(path: UPath) -> tuple[str, ...]:
    options = path.fs.storage_options
    endpoint = options.get("endpoint_url") or options.get("client_kwargs", {}).get("endpoint_url")
    account = getattr(path.fs, "account_name", None)
    return path.protocol, path.path.lstrip("/").partition("/")[0], str(endpoint), str(account)


def _refuses_a_second_put(path: UPath) -> bool:
    probe = path.with_name(f".probe.{uuid.uuid4().hex}")
    try:
        # If even the first put is refused, it was sent twice because a reply was lost: the store honours conditions.
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
    """The store's own code of the error."""
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
    """Rename a complete file unless the target exists. Returns whether it was renamed."""
    code = _rename_noreplace(made, local)
    if code in {0, errno.EEXIST}:
        return not code
    if code in _NOT_OFFERED:
        raise _refusal(local, "supports neither hard links nor renames that replace nothing")
    raise OSError(code, os.strerror(code), str(local))


def _rename_noreplace(made: Path, local: Path) -> int:
    """Call Linux's renameat2, which Python lacks. Returns 0, or the errno."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return errno.ENOSYS
    done = call(_AT_FDCWD, os.fsencode(made), _AT_FDCWD, os.fsencode(local), _RENAME_NOREPLACE)
    return ctypes.get_errno() if done else 0


def _refusal(path: Path | UPath, what: str) -> ConfigError:
    return ConfigError(
        f"{path.parent}: the file system of this staging folder {what}, so two workers could send one shard and you "
        f"would pay twice. Nothing was sent. Put staging ({given_by('staging', '[greennode] staging')}) on a local "
        "disk, NFS, SMB as Linux mounts it, or in an object store (s3://, gs://, abfs://)"
    )


class _Candidate:
    """One worker's candidate for a file in a store that ignores conditional puts.

    Each worker puts `<path>.<token>` with the full content of the file, waits, and lists the candidates. The candidate
    with the earliest date in the store (then the lowest token) is elected. Its worker puts the file. The others wait as
    long again; if the file is still missing, the elected worker was killed, and they put its file for it.

    Why no two workers succeed: workers that list early enough see each other's candidates and agree on the first one. A
    worker that comes too late for that sees the first candidate, which is older than its own. If that candidate is
    gone, the file exists, because a candidate is removed only after the file is put, and each worker checks for the
    file after it lists. One case remains: a worker is delayed between its list and its put for longer than the wait,
    and the store's clock dates another candidate wrongly, so that its worker overtakes the first. An elected worker
    that finds its file already put by others was given up, and returns False like them.
    """

    def __init__(self, path: UPath, data: bytes) -> None:
        self._path = uncached(path)
        self._fs = path.fs
        self._data = data
        self._name = f"{path.name}.{uuid.uuid4().hex}"

    def stand(self) -> bool:
        """Run the election. Returns whether this worker created the file, which exists afterwards."""
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
                    f"{self._path}: the store does not list the candidate {self._name} {SETTLE_SECONDS:.0f} s after it "
                    "was put. Either the folder was removed meanwhile, or this store is unsuitable for staging; use "
                    f"another store ({given_by('staging', '[greennode] staging')})"
                )
            if elected == self._name:
                self._put(self._path.name, self._data)
                return True
            if time.monotonic() >= given_up_at:
                self._put_for(elected)
            time.sleep(SETTLE_SECONDS / _TRIES)

    def _put_for(self, elected: str) -> None:
        """Put the file for an elected worker that was killed before it could."""
        # The candidate is gone if another worker has just done the same.
        with contextlib.suppress(FileNotFoundError):
            self._put(self._path.name, self._fs.cat_file(self._path.with_name(elected).path, max_concurrency=1))
            self._remove(elected)

    def _elected(self) -> str | None:
        """The name of the elected candidate; None if the list lacks this worker's own candidate."""
        try:
            entries = self._fs.ls(self._path.parent.path, detail=True)
        except FileNotFoundError:
            return None
        start = f"{self._path.name}."
        found = [
            (written_at(entry), name)
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
