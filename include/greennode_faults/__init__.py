"""The fault matrix: the whole path under everything that is known to go wrong, with a verdict by rows and by money.

    case         what goes wrong, and how rows may end then
    catalogue    every fault that users of such APIs have met, as cases; mixtures of them, from a seed
    stage        a small table, its job, a clock that runs fast, and what a run leaves behind
    engine       a case on the engine, with the emulator
    kills        a run that is killed, or paused, at each of its steps in turn
    airflow_…    a real Airflow: workers, triggerer and scheduler killed, tasks cleared and marked, outages
    live         the harmless part, against any server
    table        verdicts as a table

`python -m greennode_faults --help`, or `make faults`. Money is counted by the emulator, which shares no code with the
engine: `billed` is what it billed, `needed` what had to be paid for one usable answer a request.
"""
