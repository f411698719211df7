"""The fault matrix: the whole path under everything that is known to go wrong, judged by rows and by money.

    case             what goes wrong, and how rows may end then
    catalogue        every fault that users of such APIs have met, as cases; mixtures of them, from a seed
    stage            a small table, its job, a clock that runs fast, and what a run leaves behind
    engine           a case on the engine, with the emulator
    kills            a run that is killed, or paused, at each of its steps in turn
    interleavings/   two or three workers on one run, stopped at every file and network operation
    outcome_table    outcomes as a table
    dialect_runs     a table on servers drawn from seeds, with the default profile and the probe's
    live             the harmless part, against any server

On a real Airflow:

    airflow_matrix   each case a run
    airflow_case     what is done to a run, by name
    airflow_scene    one run, what is done to it, and what it comes to
    airflow_stage    a real Airflow that notices soon what died, two emulators, and staging on S3
    airflow_kills    workers killed or held up
    airflow_marks    tasks cleared and marked
    airflow_outages  components, the API and staging gone for a while
    dags/            the DAG files of these runs

`python -m greennode_faults --help`, or `make faults`. Money is counted by the emulator, which shares no code with the
engine: `billed` is what it billed, `needed` what had to be paid for one usable answer a request.
"""
