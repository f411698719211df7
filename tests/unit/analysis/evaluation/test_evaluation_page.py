from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

from greennode_batch.analysis.evaluation.evaluation_page import Evaluation, evaluate, evaluation_page
from greennode_batch.analysis.evaluation.latency import Waits
from greennode_batch.job.prices import read_prices
from greennode_batch.source.rows import Rows

COLUMNS = (
    "id", "body", "model", "status", "expected", "said", "reply",
    "prompt_tokens", "completion_tokens", "score", "reason",
)  # fmt: skip
SCRIPT = "<script>alert('x')</script>"
LONG = "a_label_that_is_much_longer_than_a_phone_is_wide_and_has_no_space_in_it_at_all"


def answers() -> Iterator[tuple[Any, ...]]:
    """Twelve rows, of which `large` has ten right and `small` seven; they differ on five."""
    for n in range(12):
        expected = (LONG, "dog", "cat")[n % 3]
        body = f"{SCRIPT} row {n}: " + "words " * 40
        for model, wrong in (("vendor/large", {0, 1}), ("vendor/small", {1, 2, 3, 4, 5})):
            said = ("bird" if model == "vendor/large" else "fox") if n in wrong else expected
            yield (n, body, model, "succeeded", expected, said, f"Reply of {model} & co", 300, 40, 1 + n % 5, "why")


def made(**changes: Any) -> Evaluation:
    arguments = {
        "prices": read_prices({"vendor/large": [2000, 8000], "vendor/small": [500, 1000]}),
        "waits": {"vendor/large": Waits(12, 3000, 9000, 9100)},
    }
    return evaluate(
        lambda: Rows.from_tuples(COLUMNS, [list(answers())]),
        ("id",),
        ["vendor/large", "vendor/small"],
        **{**arguments, **changes},
    )


def page(**changes: Any) -> str:
    return evaluation_page(made(**changes), title="Which model?", origin="Run r1.")


def text_of(page: str) -> str:
    body = re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(body).split())


def test_the_page_has_the_figures_of_the_data() -> None:
    text = text_of(page())
    assert "12 rows, 2 models. They differ on 6 rows." in text
    assert "Right answers 83.3 % 58.3 %" in text
    # 12 * (300 * 2000 + 40 * 8000) / 1,000,000, at half the price.
    assert "Cost VND, as a batch 5.52 1.14" in text
    assert "Prompt tokens 3,600 3,600 Completion tokens 480 480" in text
    assert "Judge's mean of 5 2.75 2.75" in text
    assert "Time to answer half of them 50 min \N{EN DASH}" in text
    assert "dog 4 1.00 0.75 0.86" in text
    assert "vendor/large, scores 1 to 5: 3, 3, 2, 2, 2" in page()
    assert "6 of the 6 rows on which the models do not say the same" in text


def test_it_says_who_is_best_and_whether_the_rows_are_enough_to_say_so() -> None:
    assert made().conclusion == (
        "large is right most often: on 83 % of 12 labelled rows (95 % interval 55 % to 95 %). The interval of small "
        "overlaps with that: 12 rows do not settle it."
    )


def test_texts_of_models_and_customers_never_become_a_part_of_the_page() -> None:
    made = page()
    assert SCRIPT not in made
    assert html.escape(SCRIPT, quote=False).replace("'", "&#39;") in made
    assert "Reply of vendor/small &amp; co" in made


def test_the_page_needs_nothing_beside_itself() -> None:
    assert not re.findall(r"(?:src|href|url|@import)\s*[=(]", page())
    assert "<script" not in page()


def test_examples_come_from_each_class_and_those_first_that_somebody_has_right() -> None:
    examples = made(examples=3).examples
    assert [example.expected for example in examples] == [LONG, "cat", "dog"]
    assert [[said["is_right"] for said in example.answers] for example in examples] == [
        [False, True],
        [True, False],
        [True, False],
    ]
    assert list(examples[0].texts) == ["body"]
    assert list(examples[0].answers[0]["texts"]) == ["reply"]


def test_without_prices_labels_or_waits_the_page_says_so_and_leaves_out_what_needs_them() -> None:
    def unlabelled() -> Rows:
        return Rows.from_tuples(COLUMNS, [[(*row[:4], None, *row[5:]) for row in answers()]])

    found = evaluate(unlabelled, ("id",), ["vendor/large"], prices=read_prices({}), waits={})
    text = text_of(evaluation_page(found, title="t", origin="o"))
    assert "small is rated best" in text or "large is rated best" in text
    assert "has no price in the job or its connection" in text
    assert "this one asked nothing" in text
    assert "Class by class" not in text


def test_on_a_phone_nothing_sticks_out_at_the_side(browser: Any) -> None:
    phone = browser.new_page(viewport={"width": 390, "height": 900})
    phone.set_content(page())
    root = phone.evaluate("[document.documentElement.clientWidth, document.documentElement.scrollWidth]")
    assert root == [390, 390]
