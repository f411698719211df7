"""The fault matrix: the whole path under every known fault, judged by rows and by money.

    case             what goes wrong, and how rows may end
    catalogue        every fault that users of such APIs have met, as cases; mixtures of them, from a seed
    stage            a small table, its job, a fast clock, and what a run leaves behind
    engine           a case on the engine, with the emulator
    kills            a run that is killed, or paused, at each of its steps in turn
    live_faults      faults of live answers, and a kill at each of their steps
    interleavings/   two or three workers on one run, stopped at every file and network operation
    outcome_table    outcomes as a table
    dialect_runs     a table on servers drawn from seeds, with the default profile and the probe's
    live             the harmless cases, against any server

On a real Airflow:

    airflow_matrix   each case a run
    airflow_case     what happens to a run, by name
    airflow_scene    one run, what happens to it, and its outcome
    airflow_stage    a real Airflow that soon notices dead processes, two emulators, and staging on S3
    airflow_kills    workers that are killed or paused
    airflow_marks    tasks that are cleared and marked
    airflow_deadlines  jobs that finish by a time, and batches that never end
    airflow_whole_job  all of that, for a job that is one task
    airflow_outages  components, the API and staging, unavailable for a while
    dags/            the DAG files of these runs

`python -m greennode_faults --help`, or `make faults`. The emulator, which shares no code with the engine, counts the
money: `billed` is what it billed, `needed` what one usable answer for each request must cost.
"""
