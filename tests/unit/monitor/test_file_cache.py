import msgspec
import pytest
from upath import UPath

from greennode_batch.monitor import file_cache as seen_files
from greennode_batch.monitor.file_cache import SeenFiles
from greennode_batch.staging.folders import write_json


class Note(msgspec.Struct):
    words: str


@pytest.fixture
def folder(tmp_path):
    return UPath(tmp_path)


@pytest.fixture
def reads(monkeypatch):
    """The names of the files that were read."""
    names = []
    read = seen_files.read_json

    def noted(path, as_type):
        names.append(path.name)
        return read(path, as_type)

    monkeypatch.setattr(seen_files, "read_json", noted)
    return names


def test_a_file_is_read_again_only_after_it_was_written(folder, reads):
    seen = SeenFiles(Note)
    write_json(folder / "a.json", Note("one"))
    assert [seen.read_one(folder, "a.json").words for _ in range(3)] == ["one"] * 3
    write_json(folder / "a.json", Note("two, longer"))
    assert seen.read_one(folder, "a.json").words == "two, longer"
    assert reads == ["a.json", "a.json"]


def test_what_is_not_there_is_none_and_comes_when_it_comes(folder):
    seen = SeenFiles(Note)
    write_json(folder / "b.json", Note("b"))
    assert [note and note.words for note in seen.read(folder, ["a.json", "b.json"])] == [None, "b"]
    write_json(folder / "a.json", Note("a"))
    assert [note.words for note in seen.read(folder, ["a.json", "b.json"])] == ["a", "b"]
    (folder / "b.json").unlink()
    assert seen.read_one(folder, "b.json") is None


def test_a_broken_file_is_told_of_once_and_hides_no_other(folder):
    told = []
    seen = SeenFiles(Note, on_broken=told.append)
    (folder / "a.json").write_text("{half")
    write_json(folder / "b.json", Note("b"))
    for _ in range(3):
        assert [note and note.words for note in seen.read(folder, ["a.json", "b.json"])] == [None, "b"]
    assert len(told) == 1
    assert "a.json" in told[0]


def test_no_more_values_are_held_than_allowed(folder, reads):
    seen = SeenFiles(Note, limit=2)
    names = ["a.json", "b.json", "c.json"]
    for name in names:
        write_json(folder / name, Note(name))
    seen.read(folder, names)
    seen.read(folder, names[1:])
    assert reads == names
