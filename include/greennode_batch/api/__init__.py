"""GreenNode over HTTP: profile -> protocol -> client, and back: wire, results.

profile     what is sent, and how; presets of known APIs
endpoint    base URL and key: checked on the way in, redacted on the way out
status      the status words of all such APIs -> our few
wire        a JSON reply, in any of its variants -> Batch, RemoteFile, Model, Page
error_body  an error reply, in any of its shapes -> (message, code, request id)
results/    a line of a result file -> ResultLine or Anomaly
polling/    when to ask how a batch is, and which ones next
retryable   which HTTP statuses may pass
capacity    whether a refusal is about the server's load
retries     which error a failure is, and how long to wait before the next try
exchange    one call, tried until it is answered or given up
protocol    each operation once, without I/O, for the sync and the async client; paging walks its lists
bounds      how large a reply may be, and how slow (network: sockets keep to it; reach: hosts that a reply names)
connection  a Call -> an httpx request; uploads and downloads move files in constant memory
client      GreenNodeClient, AsyncGreenNodeClient
"""
