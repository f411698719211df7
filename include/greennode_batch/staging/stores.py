"""Object stores: which ones hold staging, what each needs to be installed, and their refusals as errors of a disk."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from upath import UPath

from greennode_batch.errors import ConfigError
from greennode_batch.staging.folders import local_path

AZURE_SCHEMES = frozenset({"abfs", "abfss", "adl", "az"})
# The extra of this distribution that a scheme needs. S3 needs none.
_EXTRAS = {"gs": "gcs", "gcs": "gcs", **dict.fromkeys(AZURE_SCHEMES, "azure")}
_STAGING_SCHEMES = frozenset({"s3", "s3a", "s3n", *_EXTRAS})
_LIBRARIES = frozenset({"azure", "gcsfs", "google"})
# A line for each request would hide all else in a task's log.
_REQUEST_LOG = logging.getLogger("azure.core.pipeline.policies.http_logging_policy")
if _REQUEST_LOG.level == logging.NOTSET:
    _REQUEST_LOG.setLevel(logging.WARNING)
_OF_STATUS: dict[object, type[OSError]] = {401: PermissionError, 403: PermissionError, 404: FileNotFoundError}


def open_path(path: str | Path) -> UPath:
    """A path on local disk or in an object store, with keys and addresses from the environment.

    Raises ConfigError if the store's file system cannot be opened.
    """
    try:
        opened = UPath(path)
        if local_path(opened) is None:
            _ = opened.fs
    except (ImportError, OSError, ValueError) as error:
        raise unopened(str(path), error) from error
    return opened


def unopened(path: str, why: object) -> ConfigError:
    """The error for a path whose file system cannot be opened. why: in the words of its library."""
    scheme = path.partition("://")[0]
    extra = _EXTRAS.get(scheme)
    way_out = (
        f"install greennode-airflow[{extra}] wherever tasks, the triggerer and the page run, or use s3://"
        if extra
        else "use s3://, gs:// or abfs://"
    )
    return ConfigError(
        f"{path}: the file system of {scheme}:// cannot be opened ({_first_line(why)}); {way_out}, or a folder on a "
        "disk. Nothing was sent"
    )


def check_staging(path: UPath) -> UPath:
    """The path, if its store can hold staging. Raises ConfigError if it is in none of S3, Google's and Azure's.

    Others differ in how they create a file exclusively and date it, by which a batch is created once.
    """
    if local_path(path) is None and path.protocol not in _STAGING_SCHEMES:
        raise ConfigError(
            f"staging {path}: {path.protocol}:// cannot hold staging; use s3://, gs://, abfs:// or a folder on a disk "
            "that all workers share. Nothing was sent"
        )
    return path


@contextmanager
def refusals(path: object) -> Iterator[None]:
    """Raise PermissionError or FileNotFoundError for what a store refuses so, whichever error its library has for it.

    s3fs raises these by itself. The libraries of Google's and Azure's stores raise errors that are no OSError.
    """
    try:
        yield
    except OSError as error:
        if str(error).startswith("Forbidden"):  # gcsfs's own words
            raise PermissionError(f"{path}: {_first_line(error)}") from error
        raise
    except Exception as error:
        kind = _OF_STATUS.get(getattr(error, "status_code", getattr(error, "code", None)))
        if kind is None or type(error).__module__.partition(".")[0] not in _LIBRARIES:
            raise
        raise kind(f"{path}: {_first_line(error)}") from error


def _first_line(error: object) -> str:
    return str(error).strip().partition("\n")[0]
