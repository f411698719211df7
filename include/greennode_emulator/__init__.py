"""A local stand-in for GreenNode's batch inference API, for tests and for work without a key.

The way of a request:

    gate (request id, key, armed faults) -> file_routes | batch_routes | chat_routes | control_routes
    batch_routes -> batch_runner (a thread) -> batch_work (one step of one batch)
    batch_work -> request_lines (is the file good?) -> answers (what would a model say?) -> store

`records` is the neutral model of files and batches; a `dialects.Dialect` says how they look on the wire.
`store` keeps everything on disk, so a killed server goes on where it stopped; `ledger` says what was billed.
`server.running(settings)` serves in a background thread for tests; `python -m greennode_emulator` stands alone.
"""
