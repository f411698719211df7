"""A run in one process is known by its content, goes on where it was, and is alone in its folder."""

import errno

import pytest
from pydantic import BaseModel
from upath import UPath

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.errors import ConfigError
from greennode_batch.interactive.local_run import _alone_in, question_id_of, run_here, run_id_of
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.source.files import read_files
from greennode_batch.staging.folders import run_folder
from greennode_batch.wording import run_again_by
from greennode_batch.write.answer_file import AnswerFile

URL = "https://host/v1"
MODEL = "google/gemma-4-31b-it"


class Label(BaseModel):
    mood: str


@pytest.fixture
def declared(tmp_path):
    """A job over a file of two rows."""
    (tmp_path / "rows.csv").write_text("id,text,more\n1,one,x\n2,two,y\n")

    def make(path="rows.csv", **changes):
        fields = {"key": "id", "prompt": "{{ text }}", "model": MODEL, "canary": 0, **changes}
        fields.setdefault("source", FileSource(path=str(tmp_path / path)))
        return BatchJob(name="notes", target=FileTarget(path="answers.parquet"), **fields)

    return make


def test_the_same_content_is_the_same_run_also_of_a_copy_and_by_another_spelling_of_the_address(declared, tmp_path):
    (tmp_path / "copy.csv").write_bytes((tmp_path / "rows.csv").read_bytes())
    runs = {run_id_of(declared(), URL), run_id_of(declared(), f"{URL}/"), run_id_of(declared("copy.csv"), URL)}
    # What bounds a run is no part of it.
    runs.add(run_id_of(declared(samples=1, max_shard_requests=9), URL))
    assert len(runs) == 1


def test_another_question_file_or_server_is_another_run(declared, tmp_path):
    changes = [
        {}, {"prompt": "{{ text }}?"}, {"system": "Be brief."}, {"model": "n"}, {"key": "text"}, {"carry": ("more",)},
        {"samples": 2}, {"params": {"max_tokens": 5}}, {"answer": Label},
        {"source": FileSource(path=str(tmp_path / "rows.csv"), format="csv")},
        {"source": FileSource(path=str(tmp_path / "rows.csv"), delimiter=";")},
    ]  # fmt: skip
    runs = [run_id_of(declared(**change), URL) for change in changes]
    runs.append(run_id_of(declared(), "https://other/v1"))
    (tmp_path / "rows.csv").write_text("id,text,more\n1,one,x\n2,two,z\n")
    runs.append(run_id_of(declared(), URL))
    assert len(set(runs)) == len(runs)


def test_a_file_that_moves_in_a_folder_makes_another_run(declared, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("id,text\n1,x\n")
    before = run_id_of(declared("in"), URL)
    (tmp_path / "in" / "a.csv").rename(tmp_path / "in" / "b.csv")
    assert run_id_of(declared("in"), URL) != before


def test_a_question_is_the_same_of_whichever_rows(declared, tmp_path):
    (tmp_path / "others.csv").write_text("id,text\n3,three\n")
    assert question_id_of(declared(), URL) == question_id_of(declared("others.csv"), URL)
    assert question_id_of(declared(), URL) != question_id_of(declared(system="Be brief."), URL)


def test_a_run_that_is_over_is_followed_by_one_that_asks_nothing_again(declared, tmp_path, emulator, quick_polls):
    job = declared()
    with GreenNodeClient(emulator.base_url, emulator.api_key) as client:
        for _ in range(2):
            run_here(
                job,
                lambda: read_files(UPath(job.source.path)),
                client,
                tmp_path / "staging",
                lambda _: AnswerFile(tmp_path / "answers.parquet"),
                run_id=run_id_of(job, emulator.base_url),
            )
    assert emulator.ledger()["requests_billed"] == 2


def test_two_processes_are_not_at_work_on_one_run(tmp_path):
    run = run_folder(tmp_path, "notes", "1")
    with _alone_in(run), pytest.raises(ConfigError, match="another process is working on this run"), _alone_in(run):
        pass


def test_what_stops_a_run_says_how_it_goes_on(declared, tmp_path, emulator):
    job = declared()

    def stopped():
        raise KeyboardInterrupt

    with (
        GreenNodeClient(emulator.base_url, emulator.api_key) as client,
        run_again_by("make the same call again"),
        pytest.raises(KeyboardInterrupt) as stop,
    ):
        run_here(
            job, stopped, client, tmp_path / "staging", lambda _: AnswerFile(tmp_path / "out.parquet"), run_id="run"
        )
    assert stop.value.__notes__ == ["Nothing was sent; make the same call again to begin"]


def test_a_full_disk_is_named(declared, tmp_path, emulator):
    job = declared()

    def no_room():
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        GreenNodeClient(emulator.base_url, emulator.api_key) as client,
        pytest.raises(OSError, match="No space") as full,
    ):
        run_here(
            job, no_room, client, tmp_path / "staging", lambda _: AnswerFile(tmp_path / "out.parquet"), run_id="run"
        )
    assert "A disk is full: make room where" in full.value.__notes__[0]
