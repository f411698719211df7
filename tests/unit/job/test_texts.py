import pytest

from greennode_batch.errors import ConfigError
from greennode_batch.job.texts import read_job_text


def test_a_text_is_a_file_only_if_it_looks_like_one(tmp_path):
    (tmp_path / "job").mkdir()
    (tmp_path / "job/prompt.md").write_text("é {{ text }}", encoding="utf-8")
    assert read_job_text("job/prompt.md", folder=tmp_path) == "é {{ text }}"
    for text in ("SELECT 1", "Summarise as in notes.md", "Rate {{ text }}"):
        assert read_job_text(text, folder=tmp_path) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("job/gone.sql", "job/gone.sql: no such file below the jobs folder"),
        ("../secret.md", "lies outside the jobs folder"),
        ("/etc/secret.txt", "lies outside the jobs folder"),
        ("folder.md", "cannot be read as UTF-8 text"),
        ("latin.md", "cannot be read as UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, text, message):
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "latin.md").write_bytes(b"\xe9")
    with pytest.raises(ConfigError, match=message):
        read_job_text(text, folder=tmp_path)
