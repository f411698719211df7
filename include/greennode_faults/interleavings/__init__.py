"""Two or three workers on one run, stopped and woken at every file and network operation.

workers      threads of which one runs at a time; a schedule says which, and how the clock goes
schedules    one worker is held up over the lives of all others, or each goes on at random, from a seed
counted_tokens  what would be random for workers, counted
storage_steps  every operation on a file is a step
bucket       an object store in memory, each operation a step; it honours conditional puts, or ignores them
small_api    a batch API in memory, each request two steps; it counts what is billed
ground       a kind of store, and what is put back after each schedule: staging, targets, the server
scene        what the workers do, how it is taken to its end, and what is wrong then
scenes       on the same shard, the same build, the same retry
join_scenes  on the same rows of a table and a dataset
end_state    all that a schedule leaves, as one digest
end_result   what is wrong with an end, by rows and by money; each end is judged once
explorer     every single hold-up, and random schedules, of one scene
tally        how many schedules were played, and how they ended
"""
