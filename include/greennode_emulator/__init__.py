"""A local stand-in for GreenNode's batch inference API, for tests and for work without a key.

Start it:

    server            serves an emulator in this thread, or in a background thread for tests
    settings          the options of one emulator
    core              the parts of one running emulator
    emulator_app      the dialect's paths joined to their handlers

The path of a request:

    gate              its id, its key, its armed fault
    endpoints         the operations of the API, by name
    file_routes       upload, list, read, download and delete files
    batch_routes      create, read, list, cancel and delete batches
    chat_routes       the models, and live chat completions
    control_routes    `/_emulator/`: how tests control the emulator itself
    multipart_upload  an upload, streamed to disk
    signed_uploads    an upload to a URL of the object store
    upload_checks     checks of an uploaded file
    listing           lists of files and batches, paged as the dialect does
    open_connections  connections by their addresses, so that a fault can reset one
    replies           HTTP replies, and reading the parts of a request
    refusals          the one exception for every refused request
    error_bodies      the bodies of errors

The path of a batch:

    batch_runner      a thread that keeps every unfinished batch going
    batch_work        one batch, one step at a time
    timeline          when a batch does what
    input_lines       whether a batch file is good
    models            who answers: `answers`, or a model server by `upstream`
    chat_latency      how long a chat completion takes
    rate_limits       requests and tokens a minute
    chat_request      the fields of a chat request that count, and what makes it invalid
    output_lines      request lines -> lines of result files, and what is billed
    reshaping         the same lines with other names, casing and wrappers
    result_files      the result files, written in chunks, visible at the end

The parts of an answer:

    answers           the emulated model: a pure function of the request
    upstream          a real model server that answers instead
    answer_words      words, some of them Vietnamese
    schema_values     values that satisfy a JSON schema (scalars, patterns: its parts)
    tokens            token counts
    enqueued_tokens   a limit on the prompt tokens of all batches that have not ended
    dice              choices that are a pure function of a seed

The data that is kept:

    records           files and batches, before a dialect shows them
    file_view         a file as clients see it
    batch_view        a batch as clients see it
    store             file bytes as files, all else in SQLite; a killed server continues where it stopped
    storage           the object store whose URLs some dialects hand out
    ledger            what was called, billed and wasted

    dialects/         what all this looks like on the wire
    faults/           what goes wrong on demand

`python -m greennode_emulator` runs it alone. README.md has the options, the control calls, and tables of dialects and
faults with an example of each.
"""
