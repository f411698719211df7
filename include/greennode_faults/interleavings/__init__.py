"""Two or three workers on one run, stopped and woken at every file and network operation.

workers      threads, one of which runs at a time; a schedule says which, and how the clock runs
schedules    one worker is paused for the whole lives of all others, or each goes on at random, from a seed
live_loops   live answers in the worker's own thread, on virtual time
counted_tokens  values that would be random for workers, counted
storage_steps  every operation on a file is a step
bucket       an object store in memory, each operation a step; it honours conditional puts, or ignores them
small_api    a batch API in memory, each request two steps; it counts what is billed
ground       a kind of store, and what is restored after each schedule: staging, targets, the server
scene        what the workers do, how it is finished, and what is wrong then
scenes       on the same shard, in a batch or live, the same build, the same retry
join_scenes  on the same rows of a table and a dataset
end_state    everything that a schedule leaves, as one digest
end_result   what is wrong with an end, by rows and by money; each end is judged once
explorer     every single hold-up, and random schedules, of one scene
tally        how many schedules were played, and how they ended
"""
