"""The command line: the same engine with no Airflow.

    command_line     options -> a command -> an exit code
    commands         the options of each command, and the function that runs it
    preview_command  shows what a run would send
    try_command      answers the first rows live, and shows the answers
    run_command      sends the requests and writes the answers; continues where it was stopped
    option_parser    names an option that no command has, and the nearest one
    job_options      the options that declare a job, and those that several commands have
    out_file         what --out names: a file of answers or a dataset
    declared_job     the job of --job and of the options
    job_file         the job that a Python file declares, such as a DAG file
    python_file      a Python file named on the command line, imported
    job_rows         the rows of a job's source, with connections from the environment
    answer_option    the answer model that --answer names
    probe_command    finds out what a server speaks

`greennode_batch.interactive.progress` shows how far a command is.
"""

from greennode_batch.cli.command_line import main

__all__ = ["main"]
