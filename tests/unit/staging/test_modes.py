import os
import stat
from pathlib import Path

import pytest
from upath import UPath

from greennode_batch.errors import ConfigError
from greennode_batch.staging.exclusive import create_exclusive
from greennode_batch.staging.folders import land, run_folder, work_folder, write_json
from greennode_batch.staging.modes import make_folder


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def modes(root):
    """The modes of files and of folders below a folder, and its own."""
    paths = [root, *root.rglob("*")]
    return (
        {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_file()},
        {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_dir()},
    )


def fill(root):
    run = run_folder(UPath(root), "dag", "run")
    shard = run.shard("s1")
    write_json(run.plan, {"a": 1})
    create_exclusive(shard.claim(1), {"a": 1})
    with work_folder(shard.path) as work:
        made = Path(work, "made")
        made.write_bytes(b"rows")
        land(made, shard.output)
        return stat.S_IMODE(Path(work).stat().st_mode)


@pytest.mark.parametrize(
    ("mask", "files", "folders"),
    [
        (0o022, 0o600, 0o700),
        (0o027, 0o600, 0o700),
        (0o077, 0o600, 0o700),
        (0o177, 0o600, 0o600),
        (0o007, 0o660, 0o770),
        (0o002, 0o660, 0o770),
        (0o000, 0o660, 0o770),
    ],
)
def test_staging_is_of_this_user_and_of_the_group_only_where_the_umask_gives_it_all(
    mask, files, folders, umask, tmp_path
):
    if not folders & 0o100 and os.geteuid() != 0:
        pytest.skip("a folder that cannot be entered")
    umask(mask)
    inside = fill(tmp_path / "new" / "staging")
    assert modes(tmp_path / "new") == ({files}, {folders})
    assert inside == folders


def test_the_group_of_a_shared_root_is_kept(umask, tmp_path):
    umask(0o007)
    root = tmp_path / "staging"
    root.mkdir()
    root.chmod(0o2770)
    fill(root)
    assert modes(root) == ({0o660}, {0o2770})


def test_a_run_that_is_built_is_of_this_user_alone(make_run, umask, tmp_path):
    make_run(("id", "text"), [(1, "a"), (2, "b")])
    assert modes(tmp_path / "staging") == ({0o600}, {0o700})


def test_a_file_in_the_place_of_staging_is_named(tmp_path):
    (tmp_path / "staging").write_text("mine")
    with pytest.raises(ConfigError, match="staging: is a file, where a folder is needed"):
        make_folder(tmp_path / "staging" / "job")
