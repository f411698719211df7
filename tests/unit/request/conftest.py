"""Prompts that lie in files."""

import pytest


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """A jobs folder of its own."""
    monkeypatch.setattr("greennode_batch.job.texts.find_job_text.__kwdefaults__", {"folder": tmp_path})
    return tmp_path
