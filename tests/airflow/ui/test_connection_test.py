"""The Test button of Airflow's page of connections: its API as the page calls it, and the page in a browser."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from airflow.api_fastapi.app import create_app, get_auth_manager, purge_cached_app
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.api_fastapi.core_api.routes.public import connections
from airflow.models.connection import Connection
from fastapi.testclient import TestClient
from sqlalchemy import delete

from greennode_airflow import get_provider_info
from greennode_emulator.server import RunningEmulator
from greennode_emulator.settings import DEFAULT_MODELS
from greennode_local.airflow_client import AirflowClient
from greennode_local.ports import LOOPBACK, free_port
from greennode_local.stack import DEMO_PRICES, emulator_connection

PATH = "/api/v2/connections"
_PAGE_SECONDS = 60


@pytest.fixture(scope="module")
def api(_metadata: None) -> Iterator[TestClient]:
    """Airflow's API with the plugins that it finds, and an admin who is logged in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__TEST_CONNECTION", "Enabled")
        client = TestClient(create_app(apps="core"), base_url="http://localhost")
        user = SimpleAuthManagerUser(username="admin", role="admin")
        client.cookies.set(COOKIE_NAME_JWT_TOKEN, get_auth_manager().generate_jwt(user))
        yield client
        purge_cached_app()


@pytest.fixture(scope="module")
def airflow_url(api: TestClient) -> Iterator[str]:
    """Where that API, and Airflow's pages with it, are served to a browser."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(api.app, host=LOOPBACK, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    yield f"http://{LOOPBACK}:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def press_test(api: TestClient, session: Any) -> Iterator[Callable[..., Any]]:
    """Store a connection, list it, and ask for its test with what the list has, as the page does; the reply."""

    def press(**fields: Any) -> Any:
        api.post(PATH, json={"connection_id": "greennode_default", **fields}).raise_for_status()
        (listed,) = api.get(PATH).raise_for_status().json()["connections"]
        body = {name: listed[name] or "" for name in ("conn_type", "connection_id", "description", "host", "login")}
        body |= {name: listed[name] or "" for name in ("password", "schema")}
        # Number(null) is 0 in the page's language.
        body |= {"extra": listed["extra"] or "{}", "port": listed["port"] or 0}
        return api.post(f"{PATH}/test", json=body)

    yield press
    session.execute(delete(Connection))
    session.commit()


@pytest.mark.usefixtures("press_test")
def test_a_new_start_of_the_demo_leaves_what_a_person_has_set(api: TestClient) -> None:
    client = AirflowClient("http://localhost", "")
    client._http = api
    api.headers["Authorization"] = f"Bearer {api.cookies[COOKIE_NAME_JWT_TOKEN]}"
    path, mine = f"{PATH}/greennode_default", '{"max_batches_in_flight": 2}'

    def stored() -> dict[str, Any]:
        return api.get(path).raise_for_status().json()

    assert client.put_connection("greennode_default", emulator_connection("http://127.0.0.1:1/v1", "k"))
    assert json.loads(stored()["extra"])["prices"] == DEMO_PRICES
    body = {"connection_id": "greennode_default", "conn_type": "greennode", "extra": mine}
    api.patch(path, params={"update_mask": "extra"}, json=body).raise_for_status()
    assert client.put_connection("greennode_default", emulator_connection("http://127.0.0.1:2/v1", "k"))
    assert (stored()["host"], json.loads(stored()["extra"])) == ("http://127.0.0.1:2/v1", json.loads(mine))
    api.patch(path, params={"update_mask": "host"}, json={**body, "host": "https://mine.example/v1"}).raise_for_status()
    assert not client.put_connection("greennode_default", emulator_connection("http://127.0.0.1:3/v1", "k"))
    assert stored()["host"] == "https://mine.example/v1"


def test_a_right_key_is_accepted_and_the_models_are_counted(
    press_test: Callable[..., Any], emulator: RunningEmulator
) -> None:
    said = press_test(**emulator_connection(emulator.base_url, emulator.api_key))
    assert said.status_code == 200, said.text
    assert said.json()["status"] is True
    assert said.json()["message"] == f"Key accepted; {len(DEFAULT_MODELS)} models: {', '.join(DEFAULT_MODELS)}"


def test_the_demo_prices_every_model_of_its_emulator_and_says_that_it_made_them_up() -> None:
    assert {*DEMO_PRICES} == {*DEFAULT_MODELS, "currency"}
    assert "demo" in DEMO_PRICES["currency"]


def test_the_demos_connection_has_every_field_of_its_form() -> None:
    stored = json.loads(emulator_connection("http://127.0.0.1/v1", "k")["extra"])
    assert {*stored} == {*get_provider_info()["connection-types"][0]["conn-fields"]}


@pytest.mark.parametrize("extra", ["{}", '{"profile": "greennode", "max_batches_in_flight": null}'])
def test_a_wrong_key_is_refused_by_the_server_and_not_repeated(
    press_test: Callable[..., Any], emulator: RunningEmulator, extra: str
) -> None:
    said = press_test(conn_type="greennode", host=emulator.base_url, password="sk-secret-and-wrong", extra=extra)
    assert said.status_code == 200, said.text
    assert said.json()["status"] is False
    assert said.json()["message"].startswith(f"{emulator.base_url}: list models: HTTP 401")
    assert "secret" not in said.text


@pytest.mark.skipif(
    not hasattr(connections, "_same_endpoint"),
    reason="this Airflow sends a stored key wherever the test of its connection says",
)
def test_the_stored_key_goes_to_no_other_port_or_host(
    api: TestClient, press_test: Callable[..., Any], emulator: RunningEmulator
) -> None:
    press_test(conn_type="greennode", host=emulator.base_url, password=emulator.api_key, port=7)
    body = {"connection_id": "greennode_default", "conn_type": "greennode", "password": "***"}
    for changed in ({"port": 0}, {"port": 8}, {"host": "http://127.0.0.2/v1", "port": 7}):
        said = api.post(f"{PATH}/test", json={**body, "host": emulator.base_url, **changed})
        assert (said.status_code, "differs from the stored connection" in said.text) == (400, True)


def test_what_is_no_test_of_a_connection_of_ours_reaches_airflow_as_it_was_sent(
    api: TestClient, press_test: Callable[..., Any]
) -> None:
    assert press_test(conn_type="http", host="http://127.0.0.1", password="k").status_code in {200, 400}
    assert api.post(f"{PATH}/test", content=b'{"port": ').status_code == 422
    assert api.post(f"{PATH}/test", json=[0]).status_code == 422


@pytest.mark.parametrize(
    ("key", "heading", "words"),
    [
        ("right", "Test Connection Successful", f"Key accepted; {len(DEFAULT_MODELS)} models: {DEFAULT_MODELS[0]}, "),
        ("wrong", "Test Connection Failed", "list models: HTTP 401"),
    ],
)
def test_the_page_says_what_became_of_the_test(
    browser: Any,
    airflow_url: str,
    api: TestClient,
    press_test: Callable[..., Any],
    emulator: RunningEmulator,
    key: str,
    heading: str,
    words: str,
) -> None:
    password = emulator.api_key if key == "right" else "sk-secret-and-wrong"
    press_test(**emulator_connection(emulator.base_url, password))
    with browser.new_context() as context:
        login = {"name": COOKIE_NAME_JWT_TOKEN, "value": api.cookies[COOKIE_NAME_JWT_TOKEN], "url": airflow_url}
        context.add_cookies([login])
        page = context.new_page()
        page.set_default_timeout(_PAGE_SECONDS * 1000)
        page.goto(f"{airflow_url}/connections")
        row = page.get_by_role("row").filter(has_text="greennode_default")
        row.get_by_role("button", name="Test Connection").click()
        page.get_by_text(heading).first.wait_for()
        page.get_by_text(words).first.wait_for()
        assert password not in page.content()
