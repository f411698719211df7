import stat
from dataclasses import asdict
from pathlib import Path

from greennode_local.credentials import Credentials, load_credentials, write_private


def test_credentials_are_made_once_and_readable_by_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    made = load_credentials(path)
    assert load_credentials(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_homes_have_no_secret_in_common() -> None:
    assert not set(asdict(Credentials()).values()) & set(asdict(Credentials()).values())


def test_no_secret_shows_in_the_repr() -> None:
    credentials = Credentials()
    assert not [name for name, value in asdict(credentials).items() if value in repr(credentials)]


def test_a_private_file_replaces_one_that_others_could_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
