import pytest

from greennode_batch.errors import ConfigError
from greennode_batch.request.message_slots import Kind, MessageSlots


def slots_of(*messages, columns=("a", "b")):
    return MessageSlots(messages, columns, name="prompt of job j")


def image(url="{{ a }}", **more):
    return {"type": "image_url", "image_url": {"url": url, **more}}


def needed(*messages):
    return [([slot.where for slot in together], reason) for together, reason in slots_of(*messages).needed()]


def test_every_string_has_a_slot_that_says_where_it_stands_and_what_it_is_to_a_model():
    parts = [{"type": "text", "text": "{{ a }}"}, image(detail="low")]
    call = {"function": {"name": "f", "arguments": "{}"}}
    made = slots_of({"role": "user", "name": "n", "content": parts, "tool_calls": [call]})
    assert {slot.where: slot.kind for slot in made.slots} == {
        "messages[0].role": Kind.OTHER,
        "messages[0].name": Kind.OTHER,
        "messages[0].content[0].type": Kind.OTHER,
        "messages[0].content[0].text": Kind.TEXT,
        "messages[0].content[1].type": Kind.OTHER,
        "messages[0].content[1].image_url.url": Kind.MEDIA,
        "messages[0].content[1].image_url.detail": Kind.MEDIA,
        "messages[0].tool_calls[0].function.name": Kind.OTHER,
        "messages[0].tool_calls[0].function.arguments": Kind.OTHER,
    }


def test_the_messages_keep_their_shape_and_every_string_is_a_mark_of_its_own():
    made = slots_of(
        {"role": "user", "content": [{"type": "text", "text": "x"}], "n": 1}, {"role": "user", "content": "y"}
    )
    assert made.marked == [
        {"role": mark(0), "content": [{"type": mark(1), "text": mark(2)}], "n": 1},
        {"role": mark(3), "content": mark(4)},
    ]


mark = MessageSlots.mark


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"role": "user"}, r"messages\[0\] has no content; set it to a text or a list of parts"),
        ({"role": "user", "content": None}, r"messages\[0\] has no content"),
        ({"role": "user", "content": 5}, r"messages\[0\]\.content must be a text or a list of parts, not int"),
        ({"role": "user", "content": ["x"]}, r"messages\[0\]\.content\[0\] must be a part such as .* not str"),
        ({"role": "user", "content": "{% if %}"}, r"line 1"),
    ],
)
def test_a_message_that_no_model_takes_is_refused_by_the_prompts_name(message, words):
    with pytest.raises(ConfigError, match=rf"prompt of job j.*{words}"):
        slots_of(message)


def test_tool_calls_of_an_earlier_turn_need_no_content():
    assert slots_of({"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}).slots


SYSTEM = {"role": "system", "content": "{{ b }}"}


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("{{ a }}", [(["messages[1].content"], "the prompt is empty")]),
        (" \n{{ a }}", [(["messages[1].content"], "the prompt is empty")]),
        ("What is {{ a }}?", []),
        ([{"type": "text", "text": "{{ a }}"}, {"type": "text", "text": "What?"}], []),
        ([], [([], "the prompt is empty")]),
        (
            [{"type": "text", "text": "{{ a }}"}, image("{{ b }}")],
            [(["messages[1].content[1].image_url.url"], "messages[1].content[1].image_url.url is empty")],
        ),
        ([image("https://host/a.png")], []),
    ],
)
def test_a_row_has_to_fill_the_last_message_and_each_image(content, wanted):
    assert needed(SYSTEM, {"role": "user", "content": content}) == wanted
