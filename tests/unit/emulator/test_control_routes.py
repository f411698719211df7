import httpx


def test_the_ledger_counts_calls_files_batches_and_tokens(caller, emulator, body, jsonl):
    batch = caller.run(jsonl({"a": body(), "b": body("other")}))
    caller.http.delete(f"/files/{batch['input_file_id']}")
    ledger = emulator.ledger()
    assert ledger["batches_created"] == 1
    assert ledger["requests_billed"] == 2
    assert (ledger["files_uploaded"], ledger["files_deleted"]) == (1, 1)
    usages = [line["response"]["body"]["usage"] for line in caller.lines(batch["output_file_id"])]
    assert ledger["prompt_tokens"] == sum(usage["prompt_tokens"] for usage in usages)
    assert ledger["completion_tokens"] == sum(usage["completion_tokens"] for usage in usages)
    assert ledger["calls"]["POST /files"] == 1
    assert ledger["calls"]["GET /batches/{id}"] >= 1


def test_a_summary_leaves_out_the_map_by_custom_id(emulator):
    assert "requests" in emulator.ledger()
    assert "requests" not in emulator.ledger(summary=True)


def test_deleting_a_batch_does_not_take_its_bill_away(caller, emulator, body, jsonl):
    batch = caller.run(jsonl({"a": body()}))
    caller.http.delete(f"/batches/{batch['id']}")
    assert emulator.ledger()["requests"] == {"a": 1}


def test_a_reset_forgets_everything_even_in_mid_batch(timed, clock, body, jsonl):
    batch_id = timed.start(jsonl({f"r{row}": body(str(row)) for row in range(1000)}))
    clock.advance(0.1001)
    timed.wait(batch_id, {"in_progress"}, completed=500)
    timed.server.reset()
    assert timed.http.get("/batches").json()["data"] == []
    assert timed.http.get("/files").json()["data"] == []
    ledger = timed.server.ledger()
    assert (ledger["batches_created"], ledger["requests_billed"], ledger["requests"]) == (0, 0, {})
    assert timed.http.post("/files").status_code == 400


def test_control_needs_no_key_on_this_machine(emulator):
    reply = httpx.get(f"{emulator.root_url}/_emulator/health", trust_env=False)
    assert reply.json() == {"status": "ok", "dialect": "openai", "description": ""}
