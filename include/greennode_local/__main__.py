"""`python -m greennode_local demo`, `… ui` and `… show TABLE`."""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from greennode_local.demo import run_demo
from greennode_local.local_error import LocalError
from greennode_local.samples import SAMPLES
from greennode_local.show import show_table
from greennode_local.ui import run_ui

_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 if it succeeded, 1 with the reason if not."""
    options = _parser().parse_args(arguments)
    # So that the `with` blocks stop what was started: by default these signals end the process at once.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        if options.command == "ui":
            run_ui(port=options.port, data=options.data, upstream=options.upstream)
        elif options.command == "show":
            show_table(options.table)
        else:
            job = options.job or ("package_sections" if options.data else "support_tickets")
            run_demo(job=job, data=options.data, batch_seconds=options.batch_seconds, timeout_seconds=options.timeout)
    except LocalError as error:
        print(f"{options.command} failed: {error}", file=sys.stderr)  # noqa: T201 - the reason, for the user
        return 1
    except KeyboardInterrupt:
        print(f"{options.command}: stopped, nothing is left running", file=sys.stderr)  # noqa: T201 - as above
        return 0 if options.command == "ui" else _INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m greennode_local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="run one job over its sample, check the results, stop")
    demo.add_argument("--job", choices=sorted(SAMPLES), help="which DAG to run (default: support_tickets)")
    demo.add_argument("--batch-seconds", type=float, default=2, help="how long the emulator takes for a batch")
    demo.add_argument("--timeout", type=float, default=900, help="seconds that the DAG may take")
    ui = commands.add_parser("ui", help="start everything and stay, with Airflow's pages")
    ui.add_argument("--port", type=int, default=8080, help="the port for the pages")
    ui.add_argument(
        "--upstream", metavar="URL", help="a model server that gives true answers, as http://localhost:11434/v1"
    )
    show = commands.add_parser("show", help="print the first rows of a table in the warehouse of a running ui")
    show.add_argument("table", help="the table's name")
    for command in (demo, ui):
        command.add_argument("--data", type=Path, help="a Parquet file for job package_sections")
    return parser


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
