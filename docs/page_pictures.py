"""Makes the pictures of the example jobs' pages in docs/tutorials, from answers that are made up.

PYTHONPATH=include .venv/bin/python docs/page_pictures.py     (it needs Debian's package chromium)
"""

from __future__ import annotations

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
    """Make both pictures."""
    with TemporaryDirectory() as folder, chromium() as browser:
        for name, page in (("report-page", _report()), ("daily-page", _day())):
            path = Path(folder, f"{name}.html")
            path.write_text(page, encoding="utf-8")
            view = browser.new_page(viewport={"width": 1100, "height": 600})
            view.goto(path.as_uri())
            view.screenshot(path=PICTURES / f"{name}.png", full_page=True)
            view.close()


if __name__ == "__main__":
    main()
