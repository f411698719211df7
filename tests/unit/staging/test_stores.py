import errno
import sys

import pytest
from upath import UPath

from greennode_batch.errors import ConfigError
from greennode_batch.staging.stores import check_staging, open_path, refusals


class _AzureError(Exception):
    __module__ = "azure.core.exceptions"

    def __init__(self, status_code):
        super().__init__("The specified container does not exist.\nRequestId:1\nContent: <?xml?>")
        self.status_code = status_code


class _GoogleError(Exception):
    __module__ = "gcsfs.retry"

    def __init__(self, code):
        super().__init__("Anonymous caller does not have access")
        self.code = code


@pytest.mark.parametrize(
    ("path", "library", "extra"),
    [
        ("gs://bucket/rows/", "gcsfs", "gcs"),
        ("gcs://bucket/rows/", "gcsfs", "gcs"),
        ("abfs://container/rows/", "adlfs", "azure"),
        ("az://container/rows/", "adlfs", "azure"),
        ("abfss://container/rows/", "adlfs", "azure"),
    ],
)
def test_a_store_whose_library_is_missing_is_refused_by_name_with_the_ways_out(monkeypatch, path, library, extra):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError) as refused:
        open_path(path)
    said = str(refused.value)
    assert said.startswith(f"{path}: the file system of {path.partition('//')[0]}// cannot be opened")
    assert f"install greennode-airflow[{extra}]" in said
    assert "use s3://, or a folder on a disk. Nothing was sent" in said


def test_a_scheme_that_nobody_knows_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"foo://x: the file system of foo:// .*; use s3://, gs:// or abfs://, or"):
        open_path("foo://x")


def test_paths_on_disk_and_in_known_stores_are_opened(tmp_path):
    assert open_path(tmp_path) == UPath(tmp_path)
    assert open_path("s3://bucket/rows/").path.rstrip("/") == "bucket/rows"


def test_only_stores_that_batches_can_be_created_once_in_hold_staging(tmp_path):
    for path in (UPath(tmp_path), UPath("s3://bucket/staging")):
        assert check_staging(path) is path
    with pytest.raises(ConfigError, match=r"staging memory://x: memory:// cannot hold staging; use s3://, gs://, abfs"):
        check_staging(UPath("memory://x"))


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (_AzureError(404), FileNotFoundError),
        (_AzureError(403), PermissionError),
        (_GoogleError(401), PermissionError),
        (OSError("Forbidden: b/bucket/o\nno access"), PermissionError),
    ],
)
def test_what_a_store_refuses_has_the_error_of_a_disk_in_one_line(told, kind):
    with pytest.raises(kind, match=r"^gs://bucket/x: [^\n]*$"), refusals("gs://bucket/x"):
        raise told


@pytest.mark.parametrize("told", [_AzureError(503), ValueError("404"), OSError(errno.EIO, "disk"), KeyError("x")])
def test_every_other_error_passes_unchanged(told):
    with pytest.raises(type(told)) as raised, refusals("gs://bucket/x"):
        raise told
    assert raised.value is told
