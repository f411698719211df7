"""Every JSON document of staging, as a struct, and what several steps read from them. Nothing here loads Arrow.

document            Document, the base class: the number of a document's format
run_identity        run.json and removed.json: which run a folder belongs to
staging_identity    .identity.json: the identity of a staging area
plan                plan.<n>.json: what a run sends
column_limit        which values a column of a target holds, kept with the plan
attempts            retry.<n>.json, and the shards of each attempt
open_runs           .open/: the runs that may still be asking, in the order of their builds
build_turn          building.<n>.json: which of several builds counts
cost_estimate       Estimate: what a run may cost
approval_record     approval.json: a person's answer to the estimate
canaries            canary.json: the requests that were tried live
untouched_rows      answered.<n>.json: the table rows that a run leaves as they are
list_memory         .lists/: what a server's list of batches has shown
table_digest        the sum of a table's rows, which shows that nobody else wrote to it
receipts            receipt.<n>.json, claims and uploads: how far a shard's batch is
live_answers        live/: answers that came one by one, without a batch
stops               stops/: why a run, or one of its models, sends nothing more
confirmed_profile   .profiles/: the profiles whose results were read, by host
split               split.json: the halves that are sent in place of a shard
shard_model         the model of a shard
withdrawn           whether a later build has withdrawn a shard
submit_queue        the queue of shards that wait to be sent
enqueued_limit      .line/: how many prompt tokens a connection takes in one batch
no_credit           no_credit.json: the API refused a shard because the account has no credit
row_status          RowStatus: what became of a row
systematic_failure  whether too many requests of a run fail for it to be chance
row_owner           RowOwner: which job and run a target's row belongs to
rows_fingerprint    the sum of rows that shows two sides hold the same ones
joined_shard        joined.json: what a shard wrote into the targets
actual_cost         spend.json: tokens and cost of what was answered
run_usage           .usage.json: the usage history of a job
run_report          report.json: what became of a run
job_result          RunResult: counts, cost and where the answers are, as a run hands it on
cleaned             cleaned.json: the remote files that a run has deleted
"""
