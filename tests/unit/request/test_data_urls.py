import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.errors import RowError
from greennode_batch.request.data_urls import data_url
from greennode_batch.request.prompt import Prompt
from greennode_batch.source.rows import Rows

PNG = b"\x89PNG\r\n\x1a\n and so on"


def texts_of(text, *values):
    batch = next(Rows.from_tuples(["photo"], [[(value,) for value in values]]).batches)
    (source,) = Prompt(text, ["photo"]).sources
    return source.texts(batch)


@pytest.mark.parametrize(
    ("begin", "media_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"%PDF-1.7", "application/pdf"),
    ],
)
@given(rest=st.binary(max_size=20))
def test_the_first_bytes_tell_what_they_are(begin, media_type, rest):
    head, _, content = data_url(begin + rest).partition(",")
    assert head == f"data:{media_type};base64"
    assert base64.b64decode(content) == begin + rest


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("text", ["{{ photo | data_url }}", "{{ (photo | data_url) ~ '' }}"])
def test_bytes_of_any_driver_become_a_data_url_and_null_becomes_nothing(kind, text):
    assert texts_of(text, kind(PNG), None, kind(b"")) == [data_url(PNG), "", ""]


@pytest.mark.parametrize(
    "text", ["{{ photo | data_url('image/bmp') }}", "{{ photo | data_url(media_type='image/bmp') }}"]
)
def test_a_job_may_say_what_the_bytes_are(text):
    assert texts_of(text, b"BM") == ["data:image/bmp;base64,Qk0="]


def test_bytes_that_do_not_tell_what_they_are_name_row_and_column():
    words = r"column photo: the bytes begin with b'BM', which is not PNG.*data_url\("
    with pytest.raises(RowError, match=words) as caught:
        texts_of("{{ photo | data_url }}", PNG, b"BM")
    assert caught.value.row == 1


def test_so_they_do_in_a_longer_expression():
    words = r"the bytes begin with b'BM', which is not PNG.*column photo holds bytes"
    with pytest.raises(RowError, match=words) as caught:
        texts_of("{% if photo %}{{ photo | data_url }}{% endif %}", PNG, b"BM")
    assert caught.value.row == 1


def test_a_text_needs_no_data_url():
    with pytest.raises(RowError, match="column photo: data_url takes bytes, not a str; a text that is a URL needs no"):
        texts_of("{{ photo | data_url }}", "https://x/1.png")


@pytest.mark.parametrize("value", [PNG, bytearray(PNG), memoryview(PNG)])
def test_bytes_without_the_filter_are_refused_with_the_way_out(value):
    with pytest.raises(RowError, match=r"has no text form.*\| data_url"):
        texts_of("{{ photo }}", value)


def test_a_missing_column_is_named():
    with pytest.raises(RowError, match="'foto' is undefined"):
        texts_of("{{ foto | data_url }}", PNG)
