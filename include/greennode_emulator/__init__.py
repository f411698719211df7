"""A local stand-in for GreenNode's batch inference API, for tests and for work without a key.

The way of a request:

    gate (request id, key, armed faults) -> file_routes | batch_routes | chat_routes | control_routes
    batch_routes -> batch_runner (a thread) -> batch_work (one step of one batch)
    batch_work -> request_lines (is the file good?) -> models (what does a model say?) -> result_lines -> result_files

`records` is the neutral model of files and batches, `file_view` and `batch_view` are what clients are shown of it, and
one of the `dialects` says how that looks on the wire. What can go wrong, on demand, is described in `faults`.
`store` keeps everything on disk, so a killed server goes on where it stopped; `ledger` says what was billed and wasted.
`server.running(settings)` serves in a background thread for tests; `python -m greennode_emulator` stands alone.
README.md has the options, the control calls, and a table of dialects and faults with an example of each.
"""
