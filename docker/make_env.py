"""Make .env of .env.example, with a random text for each secret that is empty there. An .env that is there stays."""
# ruff: noqa: T201 - this script's work is to print

import base64
import os
import re
import secrets
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
_SECRET = re.compile(r"(?P<name>\w+_(?:KEY|PASSWORD|SECRET))=")


def main() -> int:
    """Write the file, for its owner alone."""
    target = PROJECT / ".env"
    if target.exists():
        print(f"{target} is there already, and stays as it is; remove it for new secrets")
        return 1
    lines = (PROJECT / ".env.example").read_text(encoding="utf-8").splitlines()
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.writelines(f"{_filled(line)}\n" for line in lines)
    print(f"made {target}; the UI's user is admin, its password is AIRFLOW_ADMIN_PASSWORD there")
    return 0


def _filled(line: str) -> str:
    found = _SECRET.fullmatch(line)
    if found is None:
        return line
    # Letters and digits alone: these stand in URLs and in JSON.
    made = secrets.token_hex(24)
    if found["name"] == "AIRFLOW_FERNET_KEY":
        made = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return f"{line}{made}"


if __name__ == "__main__":
    sys.exit(main())
