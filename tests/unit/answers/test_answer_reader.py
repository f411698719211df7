import datetime
import enum
import json
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Literal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    NaiveDatetime,
    RootModel,
    create_model,
    field_serializer,
    field_validator,
    model_validator,
)

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.answers.outcome import outcome_of
from greennode_batch.api.results.result_line import ResultLine
from greennode_batch.errors import ConfigError
from greennode_batch.source.column_types import is_json, max_characters


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Part(BaseModel):
    name: str
    score: float | None = None


class Answer(BaseModel):
    label: Literal["a", "b"]
    rating: int = Field(ge=1, le=5)
    note: str | None = None
    bounded: Annotated[int, Field(ge=0)] | None = None
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    shade: Colour | None = None
    part: Part | None = None
    tags: list[str] = []
    day: datetime.date | None = None
    at: datetime.datetime | None = None
    price: Decimal | None = None
    uid: uuid.UUID | None = None
    link: HttpUrl | None = None
    maybe: Literal["x", None] = None  # noqa: PYI061 - this spelling is what is tested
    number_or_text: int | str = 0
    anything: Any = None


class Tree(BaseModel):
    name: str
    inner: list["Tree"] = []


READERS = [AnswerReader(model) for model in (Part, Tree, RootModel[list[Part]], None)]
TIMESTAMP = pa.timestamp("us", tz="UTC")


def read(text, model=Answer):
    reader = AnswerReader(model)
    values = reader.read(text)
    return values if isinstance(values, str) else dict(zip([f.name for f in reader.fields], values, strict=True))


def test_each_field_has_the_column_type_of_its_values():
    types = {field.name: "json" if is_json(field) else field.type for field in AnswerReader(Answer).fields}
    assert types == {
        "label": pa.string(),
        "rating": pa.int64(),
        "note": pa.string(),
        "bounded": pa.int64(),
        "colour": pa.string(),
        "level": pa.int64(),
        "shade": pa.string(),
        "part": "json",
        "tags": "json",
        "day": pa.date32(),
        "at": TIMESTAMP,
        "price": pa.string(),
        "uid": pa.string(),
        "link": pa.string(),
        "maybe": pa.string(),
        "number_or_text": "json",
        "anything": "json",
    }


def test_a_model_that_holds_itself_has_columns_like_any_other():
    assert [is_json(field) for field in AnswerReader(Tree).fields] == [False, True]


def test_every_value_fits_its_column():
    reader = AnswerReader(Answer)
    values = reader.read(
        """{"label": "a", "rating": 5, "note": "n", "bounded": 3, "colour": "blue", "level": 2, "shade": "red",
            "part": {"name": "é", "score": NaN}, "tags": ["x"], "day": "2024-02-29", "at": "2024-01-01T07:00:00+07:00",
            "price": 1.50, "uid": "11111111-2222-3333-4444-555555555555", "link": "https://host/x", "maybe": "x",
            "number_or_text": "t", "anything": {"a": 1}}"""
    )
    table = pa.table(
        [pa.array([v], f.type) for v, f in zip(values, reader.fields, strict=True)], pa.schema(reader.fields)
    )
    (row,) = table.to_pylist()
    assert row == {
        "label": "a",
        "rating": 5,
        "note": "n",
        "bounded": 3,
        "colour": "blue",
        "level": 2,
        "shade": "red",
        "part": '{"name":"é","score":null}',
        "tags": '["x"]',
        "day": datetime.date(2024, 2, 29),
        "at": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
        "price": "1.5",
        "uid": "11111111-2222-3333-4444-555555555555",
        "link": "https://host/x",
        "maybe": "x",
        "number_or_text": '"t"',
        "anything": '{"a":1}',
    }


def test_what_is_left_out_is_null_or_the_default():
    values = read('{"label": "b", "rating": 1}')
    assert values["note"] is values["day"] is values["part"] is values["anything"] is None
    assert (values["colour"], values["level"], values["tags"]) == ("red", 1, "[]")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"label": "c", "rating": 1}', "label: Input should be 'a' or 'b'"),
        ('{"label": "a", "rating": 6}', "rating: Input should be less than or equal to 5"),
        ('{"label": "a"}', "rating: Field required"),
        ("Sure! It is a.", "Invalid JSON"),
        ("", "Invalid JSON"),
        ('{"label": "a", "rating": 1, "bounded": 99999999999999999999}', "bounded: the number is too large"),
    ],
)
def test_a_wrong_answer_says_what_is_wrong_and_what_it_was(text, reason):
    words = read(text)
    assert reason in words
    assert words.endswith(f"the answer was: {text}")


def test_a_long_wrong_answer_is_cut():
    assert len(read("x" * 100_000)) < 1_000


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"name": "x"}\n```',
        '```\n{"name": "x"}```',
        'Here it is:\n\n```json\n{"name": "x"}\n```\nAnything else?',
        '\n {"name": "x"} ',
    ],
)
def test_code_fences_are_taken_off(text):
    assert read(text, Part)["name"] == "x"


def test_a_fence_inside_of_an_answer_stays():
    assert read('{"name": "```json\\n{}\\n```"}', Part)["name"] == "```json\n{}\n```"


def test_an_alias_names_the_field_in_json_and_not_the_column():
    class Aliased(BaseModel):
        model_config = ConfigDict(populate_by_name=True)
        kind: int = Field(alias="the kind")

    assert read('{"the kind": 3}', Aliased) == {"kind": 3}
    assert AnswerReader(Aliased).fields[0].type == pa.int64()


NOISE = st.text(st.characters(exclude_characters='{}[]"', exclude_categories=["Cs"]), max_size=60)
WRAPPED = st.sampled_from(
    [
        "{}", "\ufeff{}", "\u200b {}\xa0\n", "```json\n{}\n```", "~~~\n{}\n~~~", "```JSON5 x\n{}```", "**{}**", "[{}]",
        "Use {{label}}, as said in [1] and [[2]]: {} (see {{the notes}}) :-}}", "He said \"it's {}\"", "```\n{}",
        "{{'label': 'a'}} is no JSON, this is: {}", '{{"label": oops}} {}', "<answer>{}</answer>", "`{}`, I hope :-{{",
    ]
)  # fmt: skip
ANSWERS = st.fixed_dictionaries(
    {"name": st.text(st.characters(exclude_categories=["Cs"]))},
    optional={"score": st.none() | st.floats(allow_nan=False, allow_infinity=False)},
)


@given(answer=ANSWERS, form=WRAPPED, before=NOISE, after=NOISE, ascii_only=st.booleans())
def test_an_answer_is_found_whatever_is_written_around_it(answer, form, before, after, ascii_only):
    text = before + form.format(json.dumps(answer, ensure_ascii=ascii_only)) + after
    assert read(text, Part) == {"score": None, **answer}


MARKED = st.sampled_from(
    [
        "%s", "<think>%(draft)s no</think>%(answer)s", "%(draft)s</think>\n\n<answer>%(answer)s</answer>",
        "<|channel>thought\n%(draft)s<channel|>%(answer)s", "[THINK]%(draft)s[/THINK]%(answer)s",
        "<|channel|>analysis<|message|>%(draft)s<|end|><|start|>assistant<|channel|>final<|message|>%(answer)s<|return|>",
        "<think>a <think>%(draft)s</think> b</think>%(answer)s",
    ]
).map(lambda form: form.replace("%s", "%(answer)s"))  # fmt: skip
WRAPPERS = st.sampled_from(["%s", '{"answer": %s}', '{"x": {"y": [%s]}}', "[%s]", "```json\n%s\n```", "So:\n%s\nDone."])
NOTES = ["<think>x</think>", "`y`", "{}", "é\n", "</answer>", "[THINK]", '"', "\\frac"]
VALUES = st.fixed_dictionaries(
    {
        "label": st.sampled_from(["a", "b"]),
        "rating": st.integers(1, 5),
        "note": st.none() | st.sampled_from(NOTES),
        "price": st.none() | st.decimals(min_value=-9, max_value=9, places=3).map(str),
        "tags": st.lists(st.text(max_size=3).filter(lambda text: not set(text) & set("\b\f\n\r\t")), max_size=2),
    }
)


@given(VALUES, VALUES, MARKED, WRAPPERS)
def test_any_answer_comes_through_reasoning_wrappers_and_fences_and_a_draft_does_not(answer, draft, marked, wrapper):
    written = {
        "answer": wrapper % json.dumps(answer, ensure_ascii=False),
        "draft": json.dumps({**draft, "note": None, "tags": []}),
    }
    outcome = outcome_of(ResultLine("c", 200, content=marked % written, finish_reason="stop"), AnswerReader(Answer))
    assert outcome.error is None
    values = dict(zip(Answer.model_fields, outcome.values, strict=True))
    price = answer["price"] and str(Decimal(answer["price"]))
    assert {name: values[name] for name in answer} == {**answer, "price": price, "tags": values["tags"]}
    assert json.loads(values["tags"]) == answer["tags"]


@given(text=st.lists(st.sampled_from([*"{}[]\"'`~\\:, \n\xa0a1é<>-", '{"name":', "```", "null", "NaN"])).map("".join))
def test_garbage_is_an_answer_or_has_a_reason_and_is_read_alike_one_by_one_and_together(text):
    for reader in READERS:
        values = reader.read(text)
        indexes, columns = reader.read_columns([text])
        assert isinstance(values, str) or len(values) == len(reader.fields)
        assert [tuple(column[0] for column in columns)] == [values] if indexes else isinstance(values, str)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('First I thought {"name": "a"}. No: {"name": "b"}.', "b"),
        ('```json\n{"name": "a"}\n```\nCorrected:\n```json\n{"name": "b"}\n```', "b"),
        ('{"name": "a"}\n{"name": "b"}', "b"),
        ('{"name": "a"} and nothing else: {"label": "x"}', "a"),
        ('"{\\"name\\": \\"a\\"}"', "a"),
        ('```\n"{\\"name\\": \\"a\\"}"\n```', "a"),
        ('[{"name": "a"}]', "a"),
        ('Here: [{"name": "a"}].', "a"),
        ('{"name": "a } \\" { b"} {', 'a } " { b'),
        ('{"name": "two\nlines"}', "two\nlines"),
        ('{\xa0"name":\u3000"a\xa0b"}', "a\xa0b"),
    ],
)
def test_of_what_a_model_wrote_the_last_that_fits_is_its_answer(text, name):
    assert read(text, Tree)["name"] == name


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "cut off", "inner": [{"name": "x"}, {"na',
        '{"name": oops, "inner": [{"name": "x"}]}',
        '{name: "no JSON", inner: [{"name": "x"}]}',
        '{"answer": {"name": "x"}, "more": 1}',
        '{"inner": {"name": "x"}}',
        '[{"name": "x"}, {"name": "y"}]',
        '[{"name": "x"} {"name": "y"}]',
    ],
)
def test_a_part_of_a_broken_or_of_another_answer_is_none(text):
    assert isinstance(read(text, Tree), str)


@pytest.mark.parametrize(
    "wrapped",
    [
        '{"answer": %s}', '{ "Result" : %s }', '{"data": {"item": [%s]}}', "[[%s]]", 'So: {"a\\"b": %s}!',
        '```json\n{"output":\n%s}\n```', '<answer>{"result": %s}</answer>', '{"a": 1} {"answer": %s}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("text", ['{"name": "x", "score": 1.5}', '"{\\"name\\": \\"x\\", \\"score\\": 1.5}"'])
def test_an_answer_that_is_all_that_stands_in_a_wrapper_is_unwrapped(wrapped, text):
    assert read(wrapped % text, Part) == {"name": "x", "score": 1.5}


class Product(BaseModel):
    brand: str | None = None
    colour: str | None = Field(None, validation_alias=AliasChoices("colour", AliasPath("color", 0)))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('{"brand": "Lan"}', ("Lan", None)),
        ('{"brand": null}', (None, None)),
        ('{"color": ["blue"]}', (None, "blue")),
        ('{"item": {"brand": "Lan", "colour": "blue"}}', ("Lan", "blue")),
        ('{"brand": "Lan"}\nThe weight is left out: {"weight": 3}.', ("Lan", None)),
        ('{"brand": "Lan"}\nNot {} as you see.', ("Lan", None)),
        ("{}", (None, None)),
        ("```json\n{ }\n```", (None, None)),
    ],
)
def test_an_object_answers_a_model_of_optional_fields_if_it_has_one_of_them(text, values):
    assert read(text, Product) == dict(zip(("brand", "colour"), values, strict=True))


@pytest.mark.parametrize(
    "text",
    [
        '{"error": "no product"}',
        '{"error": {"words": 1}}',
        '{"error": 1} {}',
        '[{"x": 1}]',
        '{"answer": {}}',
        '{"brand": 5} {}x',
    ],
)
def test_an_object_with_none_of_its_fields_does_not_answer_a_model_of_optional_fields(text):
    assert isinstance(read(text, Product), str)
    assert isinstance(read(text, create_model("Open", __base__=Product, __config__=ConfigDict(extra="allow"))), str)


def test_the_fields_that_are_missing_are_named():
    assert "it has none of the fields brand, color, colour; the answer was" in read('{"error": "none"}', Product)


class Raising(BaseModel):
    text: str | None
    table: dict[str, int] = {}

    @field_validator("text", mode="after")
    @classmethod
    def _stripped(cls, value):
        if value == "odd":
            raise LookupError("\ud800")
        return value.strip()

    @model_validator(mode="after")
    def _counted(self):
        if self.table:
            self.table["known"] += 1
        return self


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"text": null}', "AttributeError: 'NoneType' object has no attribute 'strip'"),
        ('{"text": "a", "table": {"x": 1}}', "KeyError: 'known'"),
        ('{"text": "odd"}', "LookupError: ?"),
        ('So: {"text": null}', "AttributeError"),
    ],
)
def test_whatever_a_validator_raises_is_the_reason_of_that_answer_alone(text, reason):
    assert reason in read(text, Raising)
    indexes, columns = AnswerReader(Raising).read_columns([text, '{"text": " b "}', text])
    assert (indexes, list(columns[0])) == ([1], ["b"])


def test_of_several_answers_the_last_that_no_validator_refuses_counts():
    assert read('{"text": "a"} {"text": "b"} {"text": null}', Raising)["text"] == "b"


class Latin(BaseModel):
    name: str

    @field_serializer("name")
    def _written(self, value):
        value.encode("latin-1")
        return value


class Returning(BaseModel):
    count: int = 0
    part: Latin = Latin(name="x")

    @field_validator("count", mode="after")
    @classmethod
    def _other(cls, value):
        return "many" if value > 9 else value


def test_a_value_that_its_column_cannot_hold_is_no_answer_whatever_made_it():
    reader = AnswerReader(Returning)
    texts = ['{"count": 1}', '{"count": 10}', '{"part": {"name": "\u1ea3"}}', '{"count": 2}']
    assert reader.read_columns(texts)[0] == [0, 3]
    assert "count: many does not fit a column of type int64" in reader.read(texts[1])
    assert "part: " in reader.read(texts[2])


class Extreme(BaseModel):
    whole: int = 0
    number: float = 0
    price: Decimal = Decimal(0)
    at: datetime.datetime | None = None
    local: NaiveDatetime | None = None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"whole": 9223372036854775808}', "whole: the number is too large"),
        ('{"whole": -1e30}', "whole: "),
        ('{"number": NaN}', "number: is not finite"),
        ('{"number": 1e999}', "number: is not finite"),
        ('{"number": -Infinity}', "number: is not finite"),
        ('{"price": "1e200000"}', "price: "),
        ('{"price": "1e-20000"}', "price: "),
        ('{"price": "NaN"}', "price: "),
        ('{"at": "0001-01-01T00:00:00+07:00"}', "at: the time is not within the years 1 to 9999"),
        ('{"at": "9999-12-31T23:59:59-07:00"}', "at: the time is not within the years 1 to 9999"),
        ('{"local": "2026-01-31T14:00:00Z"}', "local: "),
    ],
)
def test_a_value_that_no_database_can_hold_is_no_answer(text, reason):
    reader = AnswerReader(Extreme)
    assert reason in reader.read(text)
    assert reader.read_columns(['{"whole": 1}', text, '{"whole": 2}'])[0] == [0, 2]


def test_the_last_values_that_every_database_can_hold_are_answers():
    text = (
        '{"whole": -9223372036854775808, "number": 1.7e308, "price": "12345678901234567890.123", '
        '"at": "9999-12-31T23:59:59.999999Z", "local": "0001-01-01T00:00:00"}'
    )
    assert read(text, Extreme)["local"] == datetime.datetime(1, 1, 1)  # noqa: DTZ001 - without a zone, as it was said


def test_results_of_a_reader_that_made_other_column_types_are_read_again():
    reader = AnswerReader(Extreme)
    fields = [pa.field(f.name, TIMESTAMP) if f.name == "local" else f for f in reader.fields]
    assert reader.made(pa.schema(reader.fields, metadata=reader.mark))
    assert not reader.made(pa.schema(fields, metadata=reader.mark))
    assert not reader.made(pa.schema([], metadata=reader.mark))


def test_a_list_is_the_answer_where_a_list_is_wanted():
    assert read('Sure: [{"name": "x"}, {"name": "y"}]', RootModel[list[Part]]) == {
        "root": '[{"name":"x","score":null},{"name":"y","score":null}]'
    }
    assert read("```\n5\n```", RootModel[int]) == {"root": 5}


def test_the_reason_is_that_of_the_json_in_the_text():
    assert read('Sure: {"name": 5} - right?', Part).startswith(
        "name: Input should be a valid string; the answer was: S"
    )


@pytest.mark.parametrize(
    "text",
    [
        lambda n: "{" * n,
        lambda n: "[" * n,
        lambda n: '{"a":' * n,
        lambda n: '["' * n,
        lambda n: "{ " * n,
        lambda n: "```\n" + " " * n,
        lambda n: "~~~a" * n,
        lambda n: '"' + "\\" * n,
        lambda n: "[1]" * (n // 20),
    ],
)
def test_a_long_answer_is_read_in_linear_time(text, assert_linear):
    texts = {n: text(n) for n in (12_500, 200_000)}
    assert_linear(lambda n: read(texts[n], Part), 200_000)


def test_text_is_kept_as_it_is_and_an_empty_one_has_a_reason():
    reader = AnswerReader(None)
    assert reader.read(" é\n\x00 ") == (" é\n\x00 ",)
    assert reader.read(" \n") == "the answer is empty"


def test_a_model_without_a_json_schema_is_named():
    class Odd(BaseModel):
        call: Callable[[], int]

    with pytest.raises(ConfigError, match="answer model Odd"):
        AnswerReader(Odd)


def test_a_model_without_fields_is_named():
    with pytest.raises(ConfigError, match="answer model Empty: it has no fields"):
        AnswerReader(create_model("Empty"))


def test_a_text_field_says_how_long_its_values_may_be():
    class Named(enum.StrEnum):
        LONG = "excellent"

    class Answer(BaseModel):
        free: str
        short: str = Field(max_length=12)
        maybe: str | None = Field(default=None, max_length=7)
        label: Literal["good", "bad"] | None
        named: Named
        number: int
        parts: list[str]

    limits = {field.name: max_characters(field) for field in AnswerReader(Answer).fields}
    assert limits == {"free": None, "short": 12, "maybe": 7, "label": 4, "named": 9, "number": None, "parts": None}
