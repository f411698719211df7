"""GreenNode over HTTP: a profile and a call become a request; a reply becomes a typed object.

Requests, from the outside in:

    client, async_client    GreenNodeClient and AsyncGreenNodeClient: thin drivers of `protocol` over httpx
    protocol                each operation once, without I/O, for both clients
    paging                  walks the pages of a list
    exchange                tries one call until it is answered or given up
    retries, retryable      which error a failure is; which statuses are retryable; how long to wait
    connection              a call becomes an httpx request
    uploads, downloads      move files in constant memory
    endpoint                base URL and key: checked on input, redacted in output
    profile                 the request format of one kind of server; presets of known APIs
    bounds, network, reach  limits on the size and time of a reply; socket deadlines; hosts that a reply may point to

Replies:

    wire, fields            JSON, in any of its variants -> Batch, RemoteFile, Model, Page
    status                  the status words of all such APIs -> our few
    finish_reason           the words for the end of an answer -> our few
    error_body, capacity    an error reply -> message, code, request id; whether it means "try again later"
    token_limit             whether it is for a limit on enqueued tokens, and which one
    results/                a line of a result file -> ResultLine or Anomaly
    polling/                when to poll a batch, and which ones next
"""
