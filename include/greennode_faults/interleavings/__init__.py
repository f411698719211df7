"""Two or three workers on one run, stopped and woken at every file and network operation.

workers     threads of which one runs at a time; a schedule says which, and how the clock goes
file_steps  every operation on a file below staging is a step
bucket      an object store in memory, each operation a step; it honours conditional puts, or ignores them
small_api   a batch API in memory, each request two steps; it counts what is billed
ground      a kind of store, and staging that is put back after each schedule
scenes      what the workers do: same shard, same build, same retry
explorer    every single hold-up, and seeded random schedules; what became of rows and money after each
tally       how many schedules were played, and how they ended
"""
