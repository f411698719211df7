"""Answer frame: the answers that a run's result refers to, read from its target, as a DataFrame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from greennode_airflow.runtime.databases import connect
from greennode_airflow.runtime.runs import shared_path
from greennode_batch.errors import ConfigError
from greennode_batch.frame.answer_match import OUTCOME_COLUMNS, matched_answers, row_keys
from greennode_batch.frame.frame_kinds import frame_of
from greennode_batch.job.columns import JOB_ID
from greennode_batch.source.column_types import to_arrow
from greennode_batch.source.files import read_files
from greennode_batch.source.sql import read_sql
from greennode_batch.staging.folders import RunFolder
from greennode_batch.state.job_result import AnswerFiles, AnswerTable, RunResult
from greennode_batch.write.dataset import Dataset


def answer_frame(result: RunResult, target: int) -> pd.DataFrame:
    """The rows that a function returned with their answers behind; of another source, the rows that the run wrote."""
    answers = _answers(result, target)
    if result.rows is None:
        mine: pd.DataFrame = answers.filter(pc.equal(answers["run_id"], result.report.run_id)).to_pandas()
        return mine
    path = shared_path(result.rows, what="rows", kind="file", example=f"({result.rows})")
    if not path.exists():
        raise ConfigError(f"{path}: the rows of this run are gone; staging keeps them for staging_retention_days only")
    with path.open("rb") as file:
        rows = frame_of(pq.read_table(file).to_pandas())
    several = [name for name in result.target_key if name not in result.key]
    of_each = sorted(set(zip(*(answers[name].to_pylist() for name in several), strict=True))) if several else [()]
    keys = row_keys(read_files(path, file_format="parquet").batches, result.key)
    found = matched_answers(keys, answers, result.target_key, of_each)
    names = [*several, *result.answer_columns, *OUTCOME_COLUMNS]
    extended: pd.DataFrame = rows.extended(found.select(names), len(of_each))
    return extended


def _answers(result: RunResult, target: int) -> pa.Table:
    """All rows that the result's job has in a target."""
    where = result.targets[target]
    tables = [*(_of_table(where, result) if isinstance(where, AnswerTable) else _of_files(where, result))]
    if not tables:
        names = [*result.target_key, *result.answer_columns, *OUTCOME_COLUMNS, "run_id"]
        return pa.table({name: pa.array([], pa.string()) for name in names})
    return pa.concat_tables(tables, promote_options="permissive")


def _of_table(where: AnswerTable, result: RunResult) -> Iterator[pa.Table]:
    job_id = result.job_id.replace("'", "''")
    sql = f"SELECT * FROM {where.table} WHERE {JOB_ID} = '{job_id}'"  # noqa: S608 - names of the job itself
    with closing(connect(where.conn_id)) as connection:
        rows = read_sql(connection, sql)
        for batch in rows.batches:
            yield pa.table({name: to_arrow(batch.values(name), name) for name in rows.columns})


def _of_files(where: AnswerFiles, result: RunResult) -> Iterator[pa.Table]:
    folder = shared_path(where.path, what="target", kind="folder", example=f"({where.path})")
    run = RunFolder(shared_path(result.folder, what="staging", kind="folder", example=f"({result.folder})"))
    files = Dataset(folder, run, partition_by=where.partition_by)
    for path in files.all_files():
        with files.open(path) as file:
            names = [*file.schema_arrow.names, *where.partition_by]
        for rows in files.read(path, names):
            yield rows.filter(pc.equal(rows[JOB_ID], result.job_id))
