import hashlib
import json
from decimal import Decimal
from typing import NamedTuple

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.api.profile import ApiProfile
from greennode_batch.errors import ConfigError, RowError
from greennode_batch.request.job_request import JobRequest, line_fields
from greennode_batch.request.request_lines import RequestTemplate
from greennode_batch.source.rows import Rows


def template(messages=None, profile=None, **params):
    said = messages or [{"role": "user", "content": "{{ text }}"}]
    return RequestTemplate("model", JobRequest(said, params, {}, line_fields(profile or ApiProfile())), ["text"])


class Line(NamedTuple):
    custom_id: str
    line: bytes


def line_of(text, **options):
    made = template(**options).requests(batch_of(text))
    return Line(made.custom_ids[0], made.lines[0])


def batch_of(*texts):
    return next(Rows.from_tuples(["text"], [[(text,) for text in texts]]).batches)


@given(st.text())
def test_a_line_is_json_of_the_request_and_ends_in_the_only_newline(text):
    custom_id, line = line_of(text, max_tokens=5)
    assert line.endswith(b"\n")
    assert len(line.decode().splitlines()) == 1
    body = {"model": "model", "messages": [{"role": "user", "content": text}], "max_tokens": 5}
    assert json.loads(line) == {"custom_id": custom_id, "body": body}


@given(st.text())
def test_the_id_is_the_hash_of_the_body_as_it_is_sent(text):
    custom_id, line = line_of(text)
    body = line[line.index(b'"body":') + len(b'"body":') : -2]
    assert custom_id == hashlib.blake2b(body, digest_size=16).hexdigest()
    assert len(custom_id) == 32


@given(st.text(), st.text())
def test_requests_are_equal_exactly_where_their_ids_are(one, other):
    assert (line_of(one).custom_id == line_of(other).custom_id) == (one == other)


@given(st.lists(st.text(max_size=3), min_size=1, max_size=6), st.integers(1, 4))
def test_samples_of_one_request_differ_in_their_ids_alone_and_those_of_equal_requests_are_equal(texts, count):
    plain = template().requests(batch_of(*texts))
    samples = [plain.of_sample(number) for number in range(1, count + 1)]
    assert samples[0] == plain
    ids = {}
    for number, sample in enumerate(samples, start=1):
        assert sample == plain._replace(custom_ids=sample.custom_ids, lines=sample.lines)
        for text, custom_id, line, plain_line in zip(texts, sample.custom_ids, sample.lines, plain.lines, strict=True):
            parsed = json.loads(line)
            assert parsed == {**json.loads(plain_line), "custom_id": custom_id}
            assert len(line) == len(plain_line)
            assert ids.setdefault((text, number), custom_id) == custom_id
    assert len(set(ids.values())) == len(ids) == len(set(texts)) * count


def test_the_id_of_a_later_sample_is_a_hash_of_the_plain_one_and_the_number():
    plain = template().requests(batch_of("x"))
    wanted = hashlib.blake2b(f"{plain.custom_ids[0]} sample 2".encode(), digest_size=16).hexdigest()
    assert plain.of_sample(2).custom_ids == [wanted]


def test_another_model_or_parameter_is_another_request():
    ids = {line_of("x").custom_id, line_of("x", temperature=0).custom_id, line_of("x", temperature=1).custom_id}
    assert len(ids) == 3


def test_line_separators_are_escaped_in_texts_and_in_parameters():
    _, line = line_of("a\u2028b\u2029c\u0085d", stop=["\u2028\u0085"])
    assert b"\\u2028" in line
    assert b"\\u2029" in line
    assert not any(raw.encode() in line for raw in "\u2028\u2029\u0085")
    assert json.loads(line)["body"]["stop"] == ["\u2028\u0085"]


def test_half_a_surrogate_pair_is_a_row_error():
    with pytest.raises(RowError, match="surrogate pair at character 2"):
        line_of("ab\ud800")


@pytest.mark.parametrize("value", [object(), "\ud800"])
def test_a_parameter_that_is_no_json_is_a_config_error(value):
    with pytest.raises(ConfigError, match="cannot be written as JSON"):
        template(user=value)


def test_greennode_gets_the_id_and_the_body_alone():
    assert list(json.loads(line_of("x").line)) == ["custom_id", "body"]


def test_openai_gets_method_and_url_too():
    line = line_of("x", profile=ApiProfile(line_format="custom_id+method+url+body")).line
    parsed = json.loads(line)
    assert list(parsed) == ["custom_id", "method", "url", "body"]
    assert (parsed["method"], parsed["url"]) == ("POST", "/v1/chat/completions")


def test_the_id_does_not_depend_on_the_line_format():
    assert line_of("x").custom_id == line_of("x", profile=ApiProfile(line_format="custom_id+method+url+body")).custom_id


def test_every_message_is_rendered_in_its_place():
    messages = [
        {"role": "system", "content": "Be {{ text }}."},
        {"role": "user", "content": "example"},
        {"role": "assistant", "content": "\x00slot 0\x00"},
        {"role": "user", "content": "{{ text | upper }}"},
    ]
    said = json.loads(line_of("brief", messages=messages).line)["body"]["messages"]
    assert [message["content"] for message in said] == ["Be brief.", "example", "\x00slot 0\x00", "BRIEF"]
    assert [message["role"] for message in said] == ["system", "user", "assistant", "user"]


# Ids of another version would be asked, and paid, again.
@pytest.mark.parametrize(
    ("messages", "ids"),
    [
        (
            [{"role": "user", "content": "{{ text }}"}],
            [
                "b5b641870b61044363b37533ddb128a8",
                "31ea9efb14917ea2e6bf7f1ce4d29cd9",
                "7d38c561926c9f27045018ca76767c0c",
            ],
        ),
        (
            [
                {"role": "system", "content": "Be brief.\n"},
                {"role": "user", "content": "What is it?\n\n{{ text }}, {{ id }}\n"},
            ],
            [
                "4fa8ce6b525eee94727b2e93cea0f8fe",
                "3c095d3556a6b42d0a10c99c338915b6",
                "675e91b0996eb303ab6db8c64cd449e9",
            ],
        ),
        (
            [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "{% if id == 1 %}Yes{% endif %}"},
                {"role": "user", "content": "{{ text | upper }}!"},
            ],
            [
                "c3b552e6c89b832202651164152a6323",
                "41a69695f7f66d60774786d492942c83",
                "e6fd9b00fff0220215da12de0c5f96ac",
            ],
        ),
    ],
)
def test_the_ids_of_requests_stay_as_they_have_always_been(messages, ids):
    made = requests_of(
        messages, model="google/gemma-4-31b-it", params={"max_tokens": 5, "stop": ["\u2028"]},
        rows=[(1, "one"), (2, None), (3, 'é "x"\n\u2028')],
    )  # fmt: skip
    assert made.custom_ids == ids


def requests_of(messages, *, rows, columns=("id", "text"), model="m", params=None, row_params=None):
    template = RequestTemplate(model, JobRequest(messages, params or {}, row_params or {}, {}), columns)
    return template.requests(next(Rows.from_tuples(columns, [rows]).batches))


WORDS = st.text('ab "\\é\u2028\n', max_size=6)
STRINGS = st.lists(WORDS | st.sampled_from(["{{ a }}", "{{ b | upper }}", "{% if a %}{{ b }}{% endif %}"]), max_size=4)
VALUES = st.recursive(
    STRINGS.map("".join) | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
PARTS = st.dictionaries(st.sampled_from(["text", "image_url", "detail"]), VALUES, max_size=3)
MESSAGES = st.lists(
    st.builds(
        lambda role, content, more: {"role": role, "content": content, **more},
        STRINGS.map("".join),
        STRINGS.map("".join) | st.lists(st.builds(lambda kind, part: {"type": kind, **part}, WORDS, PARTS), max_size=3),
        st.dictionaries(st.sampled_from(["name", "tool_calls", "tool_call_id"]), VALUES, max_size=2),
    ),
    min_size=1,
    max_size=3,
)


@given(MESSAGES, WORDS, WORDS)
def test_every_string_of_the_messages_is_rendered_as_jinja_renders_it(messages, a, b):
    made = requests_of(messages, rows=[(a, b)], columns=("a", "b"))
    assert json.loads(made.lines[0])["body"]["messages"] == rendered(messages, a=a, b=b)


def rendered(value, **row):
    if isinstance(value, str):
        return jinja2.Template(value).render(row)
    if isinstance(value, dict):
        return {key: rendered(part, **row) for key, part in value.items()}
    return [rendered(part, **row) for part in value] if isinstance(value, list) else value


def looking_at(url, *texts, **image):
    parts = [{"type": "text", "text": text} for text in texts]
    return [{"role": "user", "content": [*parts, {"type": "image_url", "image_url": {"url": url, **image}}]}]


def test_an_image_and_its_settings_may_come_from_columns():
    messages = looking_at("{{ photo }}", "What is on photo {{ id }}?", detail="low")
    made = requests_of(messages, rows=[(1, "https://x/1.png")], columns=("id", "photo"))
    assert json.loads(made.lines[0])["body"]["messages"] == rendered(messages, id=1, photo="https://x/1.png")


@pytest.mark.parametrize("url", ["{{ photo }}", "data:image/png;base64,{{ photo }}", "{% if photo %}x{% endif %}"])
def test_a_row_without_its_image_is_not_asked_though_there_is_a_text(url):
    messages = [{"role": "system", "content": "Be brief."}, *looking_at(url, "What is this?")]
    made = requests_of(messages, rows=[("x",), (None,), (" ",)], columns=["photo"])
    reason = "messages[1].content[0].image_url.url is empty".replace("[0]", "[1]")
    assert made.blank == ({1: reason, 2: reason} if "if" not in url else {1: reason})


def test_an_image_alone_is_a_question():
    assert requests_of(looking_at("{{ photo }}"), rows=[("x",)], columns=["photo"]).blank == {}
    assert requests_of(looking_at("https://x/a.png", "{{ text }}"), rows=[("",)], columns=["text"]).blank == {}


def test_a_question_in_parts_is_empty_if_all_of_its_texts_are():
    parts = [{"type": "text", "text": "{{ a }}"}, {"type": "text", "text": " "}, {"type": "text", "text": "{{ b }}"}]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
    made = requests_of(messages, rows=[("x", ""), (" ", None), (None, "y")], columns=("a", "b"))
    assert made.blank == {1: "the prompt is empty"}
    assert requests_of([{"role": "user", "content": []}], rows=[(1,)], columns=["a"]).blank == {
        0: "the prompt is empty"
    }


def test_only_texts_are_counted_as_texts():
    plain = requests_of([{"role": "user", "content": "What is {{ text }}?"}], rows=[(1, "é\n")])
    image = requests_of(looking_at("{{ text }}" * 1000, "What is {{ text }}?"), rows=[(1, "é\n")])
    assert plain.characters == image.characters == [len("What is é\n?")]
    sizes = [len(one.lines[0]) - one.other_bytes[0] for one in (plain, image)]
    assert sizes == [len("What is é\\n?".encode())] * 2


def test_a_field_comes_from_a_column_and_from_params_where_the_column_is_null():
    made = requests_of(
        [{"role": "user", "content": "x"}],
        params={"max_tokens": 5, "temperature": 0},
        row_params={"seed": "s", "max_tokens": "m"},
        rows=[(7, 9), (None, None), (None, 9)], columns=("s", "m"),
    )  # fmt: skip
    bodies = [json.loads(line)["body"] for line in made.lines]
    assert [body.get("seed", "left out") for body in bodies] == [7, "left out", "left out"]
    assert [body["max_tokens"] for body in bodies] == [9, 5, 9]
    assert {body["temperature"] for body in bodies} == {0}


def test_a_row_whose_fields_are_null_asks_what_it_asked_without_them():
    options = {"messages": [{"role": "user", "content": "x"}], "params": {"max_tokens": 5, "top_p": 1}}
    plain = requests_of(**options, rows=[(None,)], columns=["a"])
    assert requests_of(**options, row_params={"max_tokens": "a"}, rows=[(None,)], columns=["a"]).lines == plain.lines
    assert requests_of(**options, row_params={"seed": "a"}, rows=[(None,)], columns=["a"]).lines == plain.lines
    assert requests_of(**options, row_params={"seed": "a"}, rows=[(1,)], columns=["a"]).custom_ids != plain.custom_ids


def test_tool_calls_of_an_earlier_turn_need_no_content():
    call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": '{"id": {{ text }}}'}}
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "found {{ text }}"},
    ]
    said = json.loads(line_of("7", messages=messages).line)["body"]["messages"]
    assert said[0]["tool_calls"][0]["function"]["arguments"] == '{"id": 7}'
    assert said[1]["content"] == "found 7"


@pytest.mark.parametrize(
    ("params", "row_params", "limits"),
    [
        ({}, {}, [None, None, None]),
        ({"max_tokens": 9}, {}, [9, 9, 9]),
        ({"max_completion_tokens": 9}, {}, [9, 9, 9]),
        ({"max_tokens": 9}, {"seed": "n"}, [9, 9, 9]),
        ({}, {"max_tokens": "n"}, [5, None, 7]),
        ({"max_tokens": 9}, {"max_tokens": "n"}, [5, 9, 7]),
        ({"max_completion_tokens": 9}, {"max_completion_tokens": "n"}, [5, 9, 7]),
    ],
)
def test_how_long_an_answer_may_be_is_told_row_by_row(params, row_params, limits):
    made = requests_of(
        [{"role": "user", "content": "Hi"}], params=params, row_params=row_params,
        rows=[(5,), (None,), (Decimal(7),)], columns=["n"],
    )  # fmt: skip
    assert made.max_tokens == limits
    assert made.chosen([2, 1]).max_tokens == [limits[2], limits[1]]
