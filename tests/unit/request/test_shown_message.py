import pytest

from greennode_batch.request.shown_message import message_texts, shown_message

IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'x' * 5_000}"}}


def test_a_text_is_shown_whole_however_long():
    text = "line\n" * 1_000
    assert shown_message({"role": "user", "content": text}) == f"[user]\n{text}"


def test_an_image_is_cut_and_says_how_long_it_was():
    shown = shown_message({"role": "user", "content": [{"type": "text", "text": "What is this?"}, IMAGE]})
    assert shown.startswith("[user]\nWhat is this?\n{")
    assert len(shown) < 400
    assert "… (5,022 characters)" in shown


def test_what_stands_beside_the_content_is_shown_as_well():
    call = {"id": "1", "function": {"name": "f", "arguments": "{}"}}
    shown = shown_message({"role": "assistant", "content": None, "tool_calls": [call]})
    assert shown.startswith('[assistant]\n{"tool_calls":[{"id":"1"')
    assert shown_message({"role": "tool", "content": "x", "tool_call_id": "1"}).endswith('x\n{"tool_call_id":"1"}')


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("x", ["x"]),
        ("", [""]),
        (None, []),
        ([{"type": "text", "text": "a"}, IMAGE, {"type": "text", "text": "b"}], ["a", "b"]),
        ([{"type": "text"}], []),
        ([{"type": "input_text", "text": "a"}], []),
    ],
)
def test_the_texts_of_a_message_are_what_a_model_reads_as_text(content, texts):
    assert message_texts({"role": "user", "content": content}) == texts
