from fastapi import Request

from greennode_emulator.dialects.dialect import Paging
from greennode_emulator.listing import list_page
from greennode_emulator.records import FileRecord, Purpose
from greennode_emulator.store import Store


def test_the_total_of_a_page_is_that_of_the_moment_when_its_records_were_read(tmp_path):
    store = Store(tmp_path)

    def add(name):
        store.files.add(FileRecord(id=name, filename="x", purpose=Purpose.INPUT, bytes=1, created_at=1.0))

    def render(record):
        add(f"after {record.id}")
        return {"id": record.id}

    add("a")
    add("b")
    request = Request({"type": "http", "query_string": b"", "headers": []})
    page = list_page(request, store.files, Paging(style="page"), render, what="File", default=20, most=100)
    store.close()
    assert ([item["id"] for item in page.items], page.total) == (["b", "a"], 2)
