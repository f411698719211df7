"""Where answers go: the file or folder of --out, by its ending or by --out-format."""

from __future__ import annotations

from pathlib import Path

from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.file_types import FORMATS, FileFormat
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.staging.folders import RunFolder
from greennode_batch.staging.stores import open_path
from greennode_batch.write.answer_file import AnswerFile
from greennode_batch.write.dataset import Dataset
from greennode_batch.write.text_answer_file import TextAnswerFile

_ENDINGS = ", ".join(FORMATS)


def open_out(job: BatchJob, run: RunFolder, file_format: FileFormat | None = None) -> AnswerFile | Dataset:
    """The file or the dataset that the job's only target names. Raises ConfigError if the name shows no format.

    file_format: the format, if the name does not show it.
    """
    (target,) = job.targets
    assert isinstance(target, FileTarget)
    path = Path(target.path)
    known = file_format or FORMATS.get(path.suffix.lower())
    is_remote = "://" in target.path
    if target.path.endswith("/") or (is_remote and path.suffix.lower() not in FORMATS) or path.is_dir():
        if file_format not in {None, "parquet"}:
            raise ConfigError(
                f"{target.path}: a folder holds Parquet files, not {file_format}; name one file, or leave out "
                "--out-format. Nothing was sent"
            )
        return Dataset(open_path(target.path), run, partition_by=target.partition_by)
    if is_remote:
        raise ConfigError(
            f"{target.path}: a single file can be written on this machine's disk only; name a folder, ending in /. "
            "Nothing was sent"
        )
    if known is None:
        raise ConfigError(
            f"{target.path}: its name shows no format; end it with {_ENDINGS} or, for a folder of "
            "Parquet files, with /; or set --out-format. Nothing was sent"
        )
    if target.partition_by:
        raise ConfigError(
            f"{target.path}: --partition-by makes folders, so --out has to name a folder, ending in /. Nothing was sent"
        )
    _refuse_source(job, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return AnswerFile(path) if known == "parquet" else TextAnswerFile(path, known)


def _refuse_source(job: BatchJob, out: Path) -> None:
    """Raise ConfigError if answers would replace or mix with the rows that they are about."""
    if not isinstance(job.source, FileSource) or "://" in job.source.path:
        return
    source = Path(job.source.path).resolve()
    if out.resolve() == source or (source.is_dir() and source in out.resolve().parents):
        raise ConfigError(
            f"{out}: the rows are read from there, and the answers would mix with them; name another --out. Nothing "
            "was sent"
        )
