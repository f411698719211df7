"""A local stand-in for GreenNode's batch inference API, for tests and for work without a key.

Start it:

    server            serves an emulator in this thread, or in a background thread for tests
    settings          what one emulator is started with
    core              the parts of one running emulator
    emulator_app      the dialect's paths joined to their handlers

A request's way through it:

    gate              its id, its key, its armed fault
    endpoints         the operations of the API, by name
    file_routes       upload, list, read, download and delete files
    batch_routes      create, read, list, cancel and delete batches
    chat_routes       the models, and chat completions answered at once
    control_routes    `/_emulator/`: what tests ask the emulator itself
    multipart_upload  an upload, streamed to disk
    signed_uploads    an upload by a URL of the object store
    upload_checks     what is checked of an uploaded file
    listing           lists of files and batches, paged as the dialect does
    open_connections  connections by their addresses, so that a fault can reset one
    replies           HTTP replies, and reading what a request carries
    refusals          the one exception for a request that is refused
    error_bodies      the bodies that errors come in

A batch's way through it:

    batch_runner      a thread that keeps every unfinished batch going
    batch_work        one batch, one step at a time
    timeline          when a batch does what
    input_lines       whether a batch file is good
    models            who answers: `answers`, or a model server by `upstream`
    chat_latency      how long a chat completion takes
    rate_limits       requests and tokens a minute
    chat_request      what is read of a chat request, and what makes it bad
    output_lines      request lines -> lines of result files, and what is billed
    reshaping         the same lines with other names, casing and wrappers
    result_files      the result files, written in chunks, visible at the end

What an answer is made of:

    answers           the emulated model: a pure function of the request
    upstream          a real model server in its place
    answer_words      words, some of them Vietnamese
    schema_values     values that satisfy a JSON schema (scalars, patterns: its parts)
    tokens            token counts
    dice              choices that are a pure function of a seed

What is kept:

    records           files and batches, before a dialect shows them
    file_view         what clients are shown of a file
    batch_view        what clients are shown of a batch
    store             file bytes as files, all else in SQLite; a killed server goes on where it stopped
    storage           the object store whose URLs some dialects hand out
    ledger            what was called, billed and wasted

    dialects/         how all this looks on the wire
    faults/           what goes wrong on demand

`python -m greennode_emulator` stands alone. README.md has the options, the control calls, and a table of dialects and
faults with an example of each.
"""
