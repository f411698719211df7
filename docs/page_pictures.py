"""Makes the pictures of the example jobs' pages and tables in docs/tutorials, from answers that are made up.

PYTHONPATH=include .venv/bin/python docs/page_pictures.py     (it needs Debian's package chromium)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from greennode_batch.analysis.pages.template import render_page
from greennode_local.chromium import chromium

PICTURES = Path(__file__).parent / "pictures"
CATEGORIES = (
    ("billing", 84, 12, 51, "Machines and numbers that were given back stay on the bill",
     "Most customers deleted a server or ended a line in mid-month and are billed for all of it. Some paid twice.",
     ["No pro rata for the last month", "Debits that run after a payment by hand"],
     "Show the days that are billed beside each item of the invoice."),
    ("outage", 47, 38, 33, "Evening drops in two districts, and a storage zone that times out",
     "Home lines fail between 19 and 22 o'clock. Since the 12th, uploads into one zone end in errors.",
     ["Overloaded access nodes", "One storage gateway"],
     "Tell those who are affected before they write, by the app."),
    ("account", 41, 9, 22, "Codes that do not arrive, and numbers that have moved",
     "Customers who changed their SIM are locked out: the one-time code goes to the old number.",
     ["Codes go by SMS alone"],
     "Offer the code by mail as well."),
)  # fmt: skip
LABELS = (
    ("T-0006", "wallet: money missing", 5, "A transfer of 3,200,000 VND left the wallet and did not arrive."),
    ("T-0003", "internet down", 4, "The office line has been down since the morning; the shop cannot take cards."),
    ("T-0001", "invoice", 3, "The July invoice has a machine that was deleted on the 9th."),
    ("T-0009", "SIM change", 3, "A new SIM was ordered a week ago and has not come."),
    ("T-0002", "selling on Boica Shop", 1, "Asks where the button to add a product is."),
)


TABLES: dict[str, tuple[Sequence[str], Sequence[Sequence[object]]]] = {
    "labels": (
        ("ticket_id", "true_category", "category", "urgency", "language", "summary", "status"),
        (
            (
                "T-0001",
                "billing",
                "billing",
                3,
                "vi",
                "The July invoice has a machine that was deleted on the 9th.",
                "succeeded",
            ),
            ("T-0002", "how_to", "how_to", 1, "en", "Asks where the button to add a product is.", "succeeded"),
            ("T-0003", "outage", "outage", 4, "vi", "The office line has been down since the morning.", "succeeded"),
            ("T-0008", "billing", None, None, None, None, "refused"),
        ),
    ),
    "messages": (
        ("seed_id", "variant", "intent", "language", "text", "status"),
        (
            ("S01", 1, "cancel_order", "en", "hi, ordered twice by mistake, please drop the second one", "succeeded"),
            (
                "S01",
                2,
                "cancel_order",
                "en",
                "I am writing about order 8841. Kindly cancel it; I have found it nearer.",
                "succeeded",
            ),
            ("S01", 3, "cancel_order", "en", "CANCEL PLEASE. still not shipped after 9 days!!", "succeeded"),
            ("S02", 1, "opening_hours", "vi", "Chủ nhật shop có mở cửa không ạ?", "succeeded"),
        ),
    ),
    "texts": (
        ("product_id", "channel", "language", "title", "body", "hashtags"),
        (
            (
                "P-07",
                "sms",
                "vi",
                "Ấm điện 1,7 lít",
                "Ấm điện 1,7 lít, tự ngắt khi sôi. Giảm 15 % đến Chủ nhật.",
                ["amdien"],
            ),
            (
                "P-07",
                "facebook",
                "en",
                "Tea in three minutes",
                "1.7 litres, and it switches itself off. Which tea first?",
                ["kettle", "tea"],
            ),
            (
                "P-07",
                "email",
                "en",
                "A quieter kettle",
                "You asked for one that does not wake the house: 54 dB at the boil.",
                [],
            ),
        ),
    ),
    "orders": (
        ("note_id", "recipient", "phone", "ward", "province", "deliver_on", "cash_on_delivery", "items"),
        (
            (
                "N-01",
                "Chị Hoa",
                "0912345678",
                "Phường 5",
                "TP.HCM",
                "2026-08-04",
                450_000,
                [{"name": "áo thun", "quantity": 3}],
            ),
            ("N-02", "Minh", None, None, "Đà Nẵng", None, 0, [{"name": "bàn phím", "quantity": 1}]),
            (
                "N-03",
                None,
                "0987654321",
                "Tân Lợi",
                "Đắk Lắk",
                "2026-08-06",
                None,
                [{"name": "cà phê 500 g", "quantity": 10}],
            ),
        ),
    ),
    "replies": (
        ("ticket_id", "subject", "body", "status"),
        (
            (
                "T-0001",
                "Your July invoice",
                "Hello, the machine was deleted on the 9th, and the days after it are taken off.",
                "succeeded",
            ),
            (
                "T-0003",
                "Your office line",
                "Hello, a node in your district is being replaced. It should be back by noon.",
                "succeeded",
            ),
        ),
    ),
}
"""Of each job that writes a table: columns, and rows as they could be."""
_STYLE = """
body { font: 14px system-ui, sans-serif; margin: 16px; color: #1c2128; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: 6px 12px; border-bottom: 1px solid #d0d7de; max-width: 340px; }
th { font-weight: 600; white-space: nowrap; background: #f6f8fa; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.short { white-space: nowrap; }
.null { color: #8b949e; }
"""
_SHORT = 14


def _cell(value: object) -> str:
    if value is None:
        return '<td class="null">NULL</td>'
    if isinstance(value, int):
        return f'<td class="number">{value}</td>'
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"<td{' class=short' if len(text) <= _SHORT else ''}>{escape(text)}</td>"


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<meta charset="utf-8"><style>{_STYLE}</style><table><tr>{head}</tr>{body}</table>'


def _report() -> str:
    names = ("category", "tickets", "urgent", "vietnamese", "headline", "summary", "causes", "next_step")
    rows = [{**dict(zip(names, one, strict=True)), "status": "succeeded", "error": None} for one in CATEGORIES]
    return render_page("ticket_report/page.html.j2", rows=rows, dag_id="ticket_report", run_id="asset_triggered__1")


def _day() -> str:
    names = ("ticket_id", "topic", "urgency", "summary", "status", "error")
    rows: list[dict[str, Any]] = [dict(zip(names, (*one, "succeeded", None), strict=True)) for one in LABELS]
    rows.append(dict(zip(names, ("T-0008", None, None, None, "refused", "the model refused"), strict=True)))
    return render_page("daily_tickets/page.html.j2", rows=rows, dag_id="daily_tickets", run_id="scheduled__2026-08-02")


def main() -> None:
    """Make all pictures."""
    pages = {"report-page": _report(), "daily-page": _day()}
    pages |= {f"table-{name}": _table(*table) for name, table in TABLES.items()}
    with TemporaryDirectory() as folder, chromium() as browser:
        for name, page in pages.items():
            path = Path(folder, f"{name}.html")
            path.write_text(page, encoding="utf-8")
            # A table is as high as its rows.
            view = browser.new_page(viewport={"width": 1100, "height": 60 if name.startswith("table-") else 600})
            view.goto(path.as_uri())
            view.screenshot(path=PICTURES / f"{name}.png", full_page=True)
            view.close()


if __name__ == "__main__":
    main()
