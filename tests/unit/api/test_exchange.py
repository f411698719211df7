import pytest

from greennode_batch.api.exchange import Call, Loss, Lost, Repeat, Reply, Wait, exchange, run
from greennode_batch.api.wire import WireError
from greennode_batch.errors import (
    AmbiguousError,
    ApiError,
    AuthError,
    CreditError,
    NotFoundError,
    RejectedError,
    RetryableError,
)

GOOD = Reply(200, {}, b'{"id": "b1"}')
DROPPED = Lost(Loss.NO_REPLY, "ReadTimeout")
UNCONNECTED = Lost(Loss.NOT_SENT, "ConnectError")
TRIES = {Repeat.SAFE: 5, Repeat.UNANSWERED: 3, Repeat.NEVER: 1}


def reply(status, body=b"", **headers):
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def call(repeat=Repeat.SAFE, **changes):
    values = {"what": "do it", "method": "GET", "path": "/x", "deadline_seconds": 1.0, "at_stake": "It may be billed"}
    return Call(**(values | {"repeat": repeat} | changes))


def play(outcomes, a_call):
    """(result or error, number of calls sent, seconds waited) when the tries end like this; the last one repeats."""
    steps = exchange(a_call, lambda words: words.replace("sk-1", "***"), rng=lambda: 0.0, now=lambda: 0.0)
    sent, waited, outcome = 0, [], None
    while True:
        try:
            step = steps.send(outcome)
        except StopIteration as done:
            return done.value, sent, waited
        except ApiError as error:
            return error, sent, waited
        if isinstance(step, Wait):
            waited.append(step.seconds)
            outcome = None
        else:
            outcome = outcomes[min(sent, len(outcomes) - 1)]
            sent += 1


@pytest.mark.parametrize("repeat", Repeat)
def test_a_good_reply_is_the_result(repeat):
    assert play([GOOD], call(repeat)) == (GOOD, 1, [])


@pytest.mark.parametrize("bad", [DROPPED, UNCONNECTED, reply(500), reply(502), reply(429), reply(408), reply(409)])
def test_what_is_safe_is_repeated_until_it_is_answered(bad):
    assert play([bad, bad, GOOD], call()) == (GOOD, 3, [0.5, 1.0])


@pytest.mark.parametrize("bad", [DROPPED, UNCONNECTED, reply(500)])
def test_what_never_succeeds_ends_as_retryable(bad):
    error, sent, waited = play([bad], call())
    assert (type(error), sent, len(waited)) == (RetryableError, 5, 4)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, RejectedError),
        (401, AuthError),
        (402, CreditError),
        (404, NotFoundError),
        (410, NotFoundError),
        (413, RejectedError),
    ],
)
@pytest.mark.parametrize("repeat", Repeat)
def test_a_definite_no_is_raised_at_once(repeat, status, error):
    raised, sent, _ = play([reply(status)], call(repeat))
    assert (type(raised), raised.status, sent) == (error, status, 1)


@pytest.mark.parametrize(
    "outcome",
    [
        DROPPED,
        reply(500),
        reply(502, b"<title>Bad Gateway</title>"),
        reply(503, b'{"message": "Gateway Auth Unavailable"}'),
        reply(504),
        reply(408),
        reply(409),
        reply(200, b'{"error": "odd"}'),
    ],
)
def test_a_create_of_unknown_outcome_is_ambiguous_and_not_repeated(outcome):
    error, sent, _ = play([outcome, GOOD], call(Repeat.NEVER))
    assert (type(error), sent) == (AmbiguousError, 1)
    assert "It may be billed" in str(error)


@pytest.mark.parametrize("outcome", [UNCONNECTED, reply(429), reply(425)])
def test_a_create_that_was_turned_away_unread_is_retryable_by_the_caller(outcome):
    error, sent, _ = play([outcome, GOOD], call(Repeat.NEVER))
    assert (type(error), sent) == (RetryableError, 1)


@pytest.mark.parametrize("outcome", [UNCONNECTED, DROPPED, reply(429)])
def test_an_upload_without_a_reply_is_sent_again_at_most_twice(outcome):
    assert play([outcome, GOOD], call(Repeat.UNANSWERED))[1] == 2
    error, sent, _ = play([outcome], call(Repeat.UNANSWERED))
    assert (type(error), sent) == (RetryableError, 3)


def test_an_upload_that_was_answered_badly_is_for_the_caller_to_judge():
    error, sent, _ = play([reply(500), GOOD], call(Repeat.UNANSWERED))
    assert (type(error), sent) == (RetryableError, 1)


def test_the_server_decides_how_long_to_wait():
    assert play([reply(429, retry_after="7"), GOOD], call())[2] == [7.0]


def test_an_accepted_status_is_the_operations_to_judge():
    assert play([reply(409)], call(accept=frozenset({409})))[0].status == 409


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error": {"message": "no", "code": 401}}', AuthError),
        (b'{"code": 404, "message": "gone", "data": null}', NotFoundError),
        (b'{"code": "400", "message": "bad"}', RejectedError),
        (b'{"error": "overloaded"}', RetryableError),
        (b'{"success": false, "message": "overloaded"}', RetryableError),
        (b'{"object": "error", "message": "bad", "code": 400}', RejectedError),
        (b'{"code": 40407, "message": "gone", "data": null}', NotFoundError),
        (b'{"retCode": "B404", "retMsg": "gone", "payload": null}', NotFoundError),
        (b'{"code": "BATCH-40001", "message": "bad"}', RejectedError),
        (b'{"errcode": 1302, "errmsg": "bad"}', RetryableError),
    ],
)
def test_an_error_that_comes_with_status_200_is_an_error(body, error):
    assert type(play([reply(200, body)], call())[0]) is error


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"id": "b1", "error": "one line failed", "status": "FAILED"}',
        b'{"job": {"id": "b1"}, "warning": "w", "error": "w"}',
        b'{"code": 0, "message": "ok"}',
        b'{"code": 20000, "message": "Ok", "data": null}',
        b'{"message": "deleted"}',
        b'{"retCode": "0000", "retMsg": "done it", "payload": null}',
        b'{"code": 1000, "message": "Success.", "payload": {"id": "b1"}}',
        b'{"code": 1, "message": "ok", "data": null}',
        b'{"data": [], "error": null}',
    ],
)
def test_a_good_reply_that_speaks_of_errors_is_good(body):
    assert isinstance(play([reply(200, body)], call())[0], Reply)


def test_an_error_tells_code_request_id_and_wait():
    body = b'{"error": {"message": "slow down", "code": "rate"}}'
    error = play([reply(429, body, x_request_id="r1", retry_after="3")], call(Repeat.NEVER))[0]
    assert (error.status, error.code, error.request_id, error.retry_after) == (429, "rate", "r1", 3.0)
    assert str(error) == "do it: HTTP 429: slow down"


@pytest.mark.parametrize(
    "outcome",
    [
        reply(401, b'{"error": {"message": "Incorrect API key provided: sk-1", "code": "sk-1"}}', x_request_id="sk-1"),
        reply(400, b"<title>sk-1</title>"),
        Lost(Loss.NO_REPLY, "bad header sk-1"),
    ],
)
def test_an_echoed_key_is_in_no_part_of_an_error(outcome):
    error = play([outcome], call())[0]
    assert "sk-1" not in f"{error} {vars(error)}"
    assert error.__cause__ is None
    assert error.__context__ is None


def test_a_redirect_of_an_api_call_names_where_to():
    error = play([reply(301, location="https://other/v1/batches?sig=secret")], call())[0]
    assert isinstance(error, RejectedError)
    assert "redirects to https://other/v1/batches: set that as base URL" in str(error)
    assert "secret" not in str(error)


def test_a_404_page_hints_at_the_base_url_and_a_404_of_the_api_does_not():
    assert "with /v1?" in str(play([reply(404, b"<title>Not Found</title>")], call())[0])
    assert "/v1" not in str(play([reply(404, b'{"error": {"message": "no such batch"}}')], call())[0])


@pytest.mark.parametrize(("repeat", "error"), [(Repeat.SAFE, RetryableError), (Repeat.NEVER, AmbiguousError)])
def test_a_good_status_with_an_unreadable_body_is_not_a_result(repeat, error):
    def operation():
        yield call(repeat)
        raise WireError("expected a batch, got no JSON")

    steps = run(operation(), str)
    next(steps)
    with pytest.raises(error, match="do it: HTTP 200: expected a batch, got no JSON"):
        steps.send(GOOD)
