"""A profile that a probe has found, written into a connection of a real Airflow."""

from __future__ import annotations

import json

import pytest
from cryptography.fernet import Fernet

from greennode_batch.probe.saved_profile import check_connection, save_profile
from greennode_local.credentials import ADMIN
from greennode_local.stack import LocalStack, emulator_connection

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]


def test_the_profile_is_written_and_the_key_and_every_other_field_stay(stack: LocalStack) -> None:
    base_url = "https://gn.example/v1"
    given = emulator_connection(base_url, "the-key") | {
        "extra": json.dumps({"profile": None, "list_style": "page", "api_key": "hidden", "prices": {"m": [1, 2]}})
    }
    stack.airflow.client.put_connection("probed", given)
    environ = {
        "AIRFLOW_API_URL": stack.airflow.home.url,
        "AIRFLOW_API_USERNAME": ADMIN,
        "AIRFLOW_API_PASSWORD": stack.airflow.home.credentials.admin_password,
    }
    check_connection("probed", base_url, environ=environ)
    said: list[str] = []
    save_profile("probed", base_url, {"profile": "mistral"}, say=said.append, environ=environ)
    fernet = Fernet(stack.airflow.home.credentials.fernet_key)
    with stack.postgres.connect("airflow") as database:
        (stored,) = database.execute("SELECT password, extra FROM connection WHERE conn_id = 'probed'").fetchall()
    password, extra = (fernet.decrypt(one.encode()).decode() for one in stored)
    assert password == "the-key"
    # Airflow shows a secret as ***, and keeps it when that comes back.
    assert json.loads(extra) == {"profile": "mistral", "api_key": "hidden", "prices": {"m": [1, 2]}}
    assert '  profile: null -> "mistral"' in said[1].splitlines()
    assert not [line for line in said if "the-key" in line or "hidden" in line]
