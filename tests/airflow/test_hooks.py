from __future__ import annotations

from collections.abc import Callable

import pytest

from greennode_airflow.hooks import GreenNodeHook
from greennode_batch.api.profile import ApiProfile
from greennode_batch.errors import ConfigError
from greennode_emulator.server import RunningEmulator


def test_the_test_button_says_which_models_the_key_may_use(connection: RunningEmulator) -> None:
    works, message = GreenNodeHook().test_connection()
    assert works
    assert "google/gemma-4-31b-it" in message


def test_where_the_list_of_models_is_broken_the_test_button_lists_batches(
    connection: RunningEmulator, set_connection: Callable[..., None]
) -> None:
    connection.faults([{"endpoint": "GET /models", "kind": "status", "status": 500, "count": None}])
    extra = '{"check_models": false}'
    set_connection(host=connection.base_url, password=connection.api_key, extra=extra)
    assert GreenNodeHook().test_connection() == (True, "Key accepted: batches can be listed")


def test_a_wrong_key_is_said_to_be_wrong_and_is_not_repeated(
    connection: RunningEmulator, set_connection: Callable[..., None]
) -> None:
    set_connection(host=connection.base_url, password="sk-very-secret-and-wrong")
    works, message = GreenNodeHook().test_connection()
    assert not works
    assert "401" in message
    assert "very-secret" not in message


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"host": "https://api.example.com/v1"}, "no API key"),
        ({"host": "", "password": "k"}, "base URL"),
        ({"host": "http://api.example.com/v1", "password": "k"}, "http://"),
        ({"host": "https://api.example.com", "password": "k"}, "https://api.example.com/v1"),
        ({"host": "https://api.example.com/v1", "password": "k", "extra": '{"profile": "opena"}'}, "openai"),
        ({"host": "https://api.example.com/v1", "password": "k", "extra": '{"purpos": "x"}'}, "purpose"),
    ],
)
def test_a_connection_that_cannot_work_is_refused_with_the_way_out(
    fields: dict[str, str], words: str, set_connection: Callable[..., None]
) -> None:
    set_connection(**fields)
    with pytest.raises(ConfigError) as refused:
        GreenNodeHook().get_conn()
    assert words in str(refused.value)


def test_a_host_without_tls_can_be_allowed_by_name(set_connection: Callable[..., None]) -> None:
    set_connection(host="http://emulator:8089/v1", password="k", extra='{"allow_http_hosts": "emulator, other"}')
    GreenNodeHook().get_conn().close()


def test_the_form_leaves_fields_empty_and_they_mean_the_default(set_connection: Callable[..., None]) -> None:
    extra = {"profile": None, "allow_http_hosts": None, "keep_remote_files": None}
    set_connection(host="https://api.example.com/v1", password="k", extra=extra)
    with GreenNodeHook().get_conn() as client:
        assert client.profile == ApiProfile()


def test_a_profile_field_that_is_null_is_not_sent(set_connection: Callable[..., None]) -> None:
    extra = {"profile": "openai", "completion_window": None, "purpose": None}
    set_connection(host="https://api.example.com/v1", password="k", extra=extra)
    with GreenNodeHook().get_conn() as client:
        assert (client.profile.completion_window, client.profile.purpose) == (None, None)


async def test_a_trigger_gets_an_async_client(connection: RunningEmulator) -> None:
    async with await GreenNodeHook().aget_conn() as client:
        assert [batch async for batch in client.list_batches()] == []


def test_the_test_button_tries_once_and_names_the_address(connection: RunningEmulator) -> None:
    connection.faults([{"endpoint": "GET /models", "kind": "reset_after", "count": 5}])
    works, message = GreenNodeHook().test_connection()
    assert not works
    assert message.startswith(connection.base_url)
    assert [fault["count"] for fault in connection.armed()] == [4], "a person waits: no retries"


@pytest.mark.parametrize(
    ("said", "keep"),
    [(None, False), ("", False), (False, False), ("false", False), (True, True), ("true", True), ("True", True)],
)
def test_files_are_kept_only_where_the_connection_says_so(
    *,
    said: object,
    keep: bool,
    set_connection: Callable[..., None],
) -> None:
    set_connection(host="https://api.example.com/v1", password="k", extra={"keep_remote_files": said})
    assert GreenNodeHook().keep_remote_files() is keep
    GreenNodeHook().get_conn().close()


def test_a_word_that_is_no_yes_or_no_is_refused(set_connection: Callable[..., None]) -> None:
    set_connection(host="https://api.example.com/v1", password="k", extra={"keep_remote_files": "sometimes"})
    with pytest.raises(ConfigError, match="keep_remote_files is 'sometimes'; it is true or false"):
        GreenNodeHook().keep_remote_files()


def test_a_connection_without_limits_has_no_line(set_connection: Callable[..., None]) -> None:
    extra = {"max_batches_in_flight": None, "max_enqueued_tokens": ""}
    set_connection(host="https://api.example.com/v1", password="k", extra=extra)
    hook = GreenNodeHook()
    with hook.get_conn() as client:
        assert hook.admit(client) is None


def test_a_limit_that_cannot_be_is_refused_by_the_connections_name(set_connection: Callable[..., None]) -> None:
    set_connection(host="https://api.example.com/v1", password="k", extra={"max_batches_in_flight": 0})
    hook = GreenNodeHook()
    with (
        hook.get_conn() as client,
        pytest.raises(ConfigError, match="connection 'greennode_default': max_batches_in_flight is 0; it is a whole"),
    ):
        hook.admit(client)
