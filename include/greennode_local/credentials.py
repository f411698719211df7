"""The random secrets of one local deployment, kept in its home folder and readable by its owner only."""

import base64
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec

ADMIN = "admin"


def _token() -> str:
    return secrets.token_urlsafe(24)


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


@dataclass(frozen=True)
class Credentials:
    """Generated once for each home folder. Never printed: the fields are left out of `repr`."""

    postgres_password: str = field(default_factory=_token, repr=False)
    admin_password: str = field(default_factory=lambda: secrets.token_urlsafe(9), repr=False)
    emulator_key: str = field(default_factory=lambda: f"local-{_token()}", repr=False)
    fernet_key: str = field(default_factory=_fernet_key, repr=False)
    jwt_secret: str = field(default_factory=lambda: secrets.token_urlsafe(64), repr=False)
    api_secret_key: str = field(default_factory=_token, repr=False)


def load_credentials(path: Path) -> Credentials:
    """The credentials in this file; made, and written with mode 0600, if there is none."""
    if path.exists():
        return msgspec.convert(msgspec.json.decode(path.read_bytes()), Credentials)
    credentials = Credentials()
    write_private(path, msgspec.json.encode(asdict(credentials)))
    return credentials


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, without a moment in which others can."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    new.replace(path)
