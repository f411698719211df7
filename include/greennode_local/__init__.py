"""A whole local deployment from real parts, on a bare machine: `make demo`, `make ui` and the system tests use it.

    ports             free ports on the loopback address
    credentials       the random secrets of one deployment
    processes         processes that are started, watched and reliably ended
    local_error       errors whose message says what to do

    postgres_server   a real PostgreSQL: the warehouse, and Airflow's database
    emulator          the GreenNode emulator, as a process
    object_store      an S3 server on files
    airflow_home      Airflow's settings and secrets
    airflow_database  migrated once, copied for each deployment
    airflow_services  Airflow's components as processes
    airflow_client    a small client of Airflow's REST API
    stack             PostgreSQL, emulator and Airflow as one context manager

    samples           the sample jobs and their data
    demo, ui, show    the commands of `python -m greennode_local`
    demo_outcome      what a run has left in the warehouse, checked
    run_progress      waits for a run, and prints a line for each change
    table_text        rows as a table for the terminal
    chromium          a headless browser, for tests of pages and their pictures

Nothing here imports Airflow: it runs in separate processes and is reached over its REST API.
"""
