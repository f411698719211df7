import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.errors import ConfigError
from greennode_batch.request.body_json import encode, encode_texts, escape_line_separators
from greennode_batch.request.body_template import FIELD_MARK, BodyTemplate
from greennode_batch.request.message_slots import MessageSlots
from greennode_batch.source.rows import Rows


def cut(messages, *, fields=(), columns=("a", "b")):
    slots = MessageSlots(messages, columns, name="prompt")
    body = {"model": "m", "messages": slots.marked, **dict.fromkeys(fields, FIELD_MARK)}
    return BodyTemplate(escape_line_separators(encode(body)), slots, fields)


def filled(body, *, fields=(), **row):
    """The body of one row, put together as a template puts it together."""
    batch = next(Rows.from_tuples(tuple(row), [[tuple(row.values())]]).batches)
    texts = encode_texts([source.texts(batch)[0] for source in body.sources])
    values = [*texts, *(b"," + encode({name: value})[1:-1] for name, value in fields)]
    parts = [part for pair in zip(body.constants, values, strict=False) for part in pair]
    return json.loads(b"".join([*parts, body.constants[-1]]))


STRINGS = st.lists(st.text('ab "\\é\u2028\n}', max_size=4) | st.sampled_from(["{{ a }}", "{{ b }}"]), max_size=4)
MESSAGES = st.lists(
    st.builds(lambda role, content: {"role": role, "content": content}, *[STRINGS.map("".join)] * 2),
    min_size=1,
    max_size=3,
)


@given(MESSAGES, st.text(max_size=4), st.text(max_size=4))
def test_a_body_that_is_filled_is_the_body_of_the_row(messages, a, b):
    made = filled(cut(messages), a=a, b=b)
    said = [
        {key: one.replace("{{ a }}", a).replace("{{ b }}", b) for key, one in each.items()}
        for each in without_end(messages)
    ]
    assert made == {"model": "m", "messages": said}


def without_end(messages):
    """As Jinja has them: a template loses the newline at its end."""
    return [{key: one.removesuffix("\n") for key, one in each.items()} for each in messages]


def test_fields_come_behind_the_messages_in_their_order():
    body = cut([{"role": "user", "content": "{{ a }}"}], fields=("seed", "user"))
    assert len(body.constants) == len(body.sources) + 3
    made = filled(body, fields=(("seed", 7), ("user", "x")), a="hi")
    assert list(made) == ["model", "messages", "seed", "user"]
    assert (made["seed"], made["user"]) == (7, "x")


def test_only_what_a_model_reads_is_counted_as_text():
    part = {"type": "image_url", "image_url": {"url": "https://host/{{ a }}"}}
    body = cut([{"role": "user", "content": [{"type": "text", "text": "What is é{{ b }}?"}, part]}])
    assert [
        body.sources[index].texts(next(Rows.from_tuples(("a", "b"), [[("1", "2")]]).batches)) for index in body.texts
    ] == [["2"]]
    assert (body.characters, body.text_bytes) == (len("What is é?"), len("What is é?".encode()))


def test_a_row_must_fill_the_question_or_say_that_it_does_not():
    body = cut([{"role": "system", "content": "{{ a }}"}, {"role": "user", "content": "{{ b }}"}])
    assert body.needed == [([1], "the prompt is empty")]
    assert cut([{"role": "user", "content": "Always: {{ b }}"}]).needed == []


def test_a_message_with_the_mark_of_a_slot_that_is_not_there_is_refused():
    slots = MessageSlots([{"role": "user", "content": "x"}], ["a"], name="prompt")
    with pytest.raises(ConfigError, match="holds the character U\\+0000"):
        BodyTemplate(encode({"messages": []}), slots, ())
