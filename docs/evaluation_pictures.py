"""Makes the pictures in docs/tutorials/jobs.md: an evaluation of models that do not exist, whose answers are made up.

PYTHONPATH=include .venv/bin/python docs/evaluation_pictures.py     (it needs Debian's package chromium)
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from greennode_batch.analysis.evaluation.evaluation_page import evaluate, evaluation_page
from greennode_batch.analysis.evaluation.latency import Waits
from greennode_batch.job.prices import read_prices
from greennode_batch.job.texts import JOBS_FOLDER
from greennode_batch.source.rows import Rows
from greennode_local.chromium import chromium

MODELS = ("example/large-120b", "example/medium-31b", "example/small-7b")
COLUMNS = (
    "message_id", "body", "model", "status", "expected", "said", "reply",
    "prompt_tokens", "completion_tokens", "custom_id", "score", "reason",
)  # fmt: skip
PRICES = dict(zip(MODELS, ([4200, 16800], [1900, 7600], [600, 1800]), strict=True))
WAITS = dict(
    zip(MODELS, (Waits(72, 2400, 4100, 4300), Waits(72, 1260, 2200, 2300), Waits(67, 540, 980, 1000)), strict=True)
)
SKILL = {"example/large-120b": 0.93, "example/medium-31b": 0.86, "example/small-7b": 0.68}
LENGTH = {"example/large-120b": 96, "example/medium-31b": 61, "example/small-7b": 38}
NEAR = {
    "balance": ["transfer_failed", "other"],
    "transfer_failed": ["balance", "refund"],
    "refund": ["transfer_failed", "fees"],
    "card_blocked": ["limits", "fraud"],
    "fees": ["other", "limits"],
    "limits": ["fees", "card_blocked"],
    "fraud": ["transfer_failed", "card_blocked"],
    "other": ["balance", "card_blocked"],
}
REPLIES = {
    "balance": (
        "Pull the home screen down to refresh it; top-ups can take ten minutes.",
        "Bạn kéo màn hình chính xuống để tải lại nhé; tiền nạp có thể mất mười phút mới hiện.",
    ),
    "transfer_failed": (
        "Open the transfer under Activity and tap Report; we look into it.",
        "Bạn mở giao dịch trong mục Hoạt động rồi bấm Báo lỗi, bên mình sẽ kiểm tra.",
    ),
    "refund": (
        "Please send us the receipt by the chat, and we ask the shop.",
        "Bạn gửi biên nhận qua khung chat này, bên mình sẽ hỏi lại cửa hàng.",
    ),
    "card_blocked": (
        "Under Cards, choose the card and then Unlock; you will need your ID.",
        "Vào mục Thẻ, chọn thẻ rồi Mở khoá; bạn chuẩn bị giấy tờ tuỳ thân nhé.",
    ),
    "fees": (
        "All fees are listed under Settings, Fees; tell us which one surprised you.",
        "Bảng phí nằm trong Cài đặt, mục Biểu phí; bạn cho mình biết khoản nào chưa rõ nhé.",
    ),
    "limits": (
        "You can see and change your limits under Settings, Limits.",
        "Bạn xem và đổi hạn mức trong Cài đặt, mục Hạn mức.",
    ),
    "fraud": (
        "Lock your wallet now under Security; then call the hotline in the app.",
        "Bạn khoá ví ngay trong mục Bảo mật, rồi gọi tổng đài có trong ứng dụng.",
    ),
    "other": (
        "Thank you for writing. Could you tell us a little more?",
        "Cảm ơn bạn đã nhắn. Bạn nói rõ thêm một chút được không?",
    ),
}
REASONS = {
    5: "The customer knows what to do next.",
    4: "Right, but it does not say how long it may take.",
    3: "Not wrong, and of little help.",
    2: "It misses what the customer asks.",
    1: "It sends the customer the wrong way.",
}


def made_up_rows() -> Rows:
    """A row per message and model, in COLUMNS."""
    return Rows.from_tuples(COLUMNS, [list(_answers())])


def _answers() -> Iterator[tuple[Any, ...]]:
    for line in (JOBS_FOLDER / "model_evaluation" / "messages.jsonl").read_text(encoding="utf-8").splitlines():
        message = json.loads(line)
        for model in MODELS:
            yield _answer(message, model, random.Random(f"{message['message_id']} {model}"))


def _answer(message: dict[str, str], model: str, dice: random.Random) -> tuple[Any, ...]:
    key, body, expected = message["message_id"], message["body"], message["intent"]
    tokens = 300 + len(body) // 3
    if model == MODELS[2] and dice.random() < 0.04:
        return (key, body, model, "invalid_output", expected, None, None, tokens, 20, f"{key}{model}", None, None)
    said = expected if dice.random() < SKILL[model] else dice.choice(NEAR[expected])
    reply = REPLIES[said][0 if body.isascii() and " " in body else 1]
    likely = {True: [5, 5, 4, 4, 3], False: [3, 2, 2, 1, 4]}[said == expected]
    score = max(1, dice.choice(likely) - (model == MODELS[2] and dice.random() < 0.3))
    taken = int(LENGTH[model] * dice.uniform(0.7, 1.3))
    return (
        key, body, model, "succeeded", expected, said, reply, tokens, taken, f"{key}{model}", score, REASONS[score],
    )  # fmt: skip


def main() -> None:
    """Write both pictures beside this file."""
    found = evaluate(made_up_rows, ("message_id",), MODELS, prices=read_prices(PRICES), waits=WAITS)
    title = "Which model answers the wallet's customers best?"
    page = evaluation_page(found, title=title, origin="Models, answers and prices are made up.")
    with chromium() as browser:
        for name, width in (("evaluation-wide.png", 1440), ("evaluation-phone.png", 390)):
            screen = browser.new_page(viewport={"width": width, "height": 2000})
            screen.set_content(page)
            screen.screenshot(path=Path(__file__).with_name("pictures") / name)


if __name__ == "__main__":
    main()
