"""The command line: `python -m greennode_emulator --port 8089`."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from greennode_emulator.chat_latency import AT_ONCE, Latency
from greennode_emulator.dialects import UnknownDialectError, dialect_names, find_dialect
from greennode_emulator.faults.kinds import ScenarioError, read_option, read_scenario
from greennode_emulator.server import describe, listen, make_server, prepared
from greennode_emulator.settings import DEFAULT_MODELS, Settings
from greennode_emulator.store import StateInUseError

KEY_VARIABLE = "GREENNODE_EMULATOR_API_KEY"
DEFAULT_PORT = 8089


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options, from a list or from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m greennode_emulator", description="A local stand-in for GreenNode's batch inference API."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 picks a free one and prints it")
    parser.add_argument(
        "--dialect", type=_dialect, metavar="NAME", default="openai", help=f"one of {', '.join(dialect_names())}"
    )
    parser.add_argument(
        "--api-key",
        action="append",
        metavar="KEY",
        help=f"can be repeated; default: {KEY_VARIABLE}, else one is generated and printed",
    )
    parser.add_argument("--state", type=Path, metavar="DIR", help="kept over restarts; default: temporary")
    parser.add_argument("--batch-seconds", type=float, default=2.0, help="from creation to completed")
    parser.add_argument("--faults", type=Path, metavar="FILE.json", help="faults that are armed from the start")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="JSON", help="one more such fault; can be repeated"
    )
    parser.add_argument("--upstream", metavar="URL", help="a model server that answers, as http://localhost:11434/v1")
    parser.add_argument("--upstream-key-env", metavar="NAME", help="the environment variable with its key")
    parser.add_argument("--storage-port", type=int, default=0, help="for files at another origin")
    parser.add_argument("--models", default=",".join(DEFAULT_MODELS), help="ids, comma-separated")
    parser.add_argument("--no-batches", action="store_true", help="models and chat only: no files, no batches")
    parser.add_argument(
        "--chat-latency",
        type=_latency,
        default=AT_ONCE,
        metavar="LATENCY",
        help="of live answers: SECONDS, fixed:SECONDS or lognormal:MEDIAN_SECONDS,SIGMA",
    )
    parser.add_argument("--chat-requests-per-minute", type=int, metavar="N", help="more are refused with 429")
    parser.add_argument("--chat-tokens-per-minute", type=int, metavar="N", help="more are refused with 429")
    parser.add_argument("--log-level", choices=["debug", "info", "warning"], default="info")
    return parser.parse_args(arguments)


def _dialect(name: str) -> str:
    try:
        return find_dialect(name).name
    except UnknownDialectError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _latency(text: str) -> Latency:
    try:
        return Latency.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; returns the exit code."""
    options = parse_arguments(arguments)
    # Only our own loggers use the debug level: those of libraries may show more than a line a request.
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("greennode_emulator").setLevel(options.log_level.upper())
    # So that an orderly stop, such as a container's, still cleans up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from_environment = os.environ.get(KEY_VARIABLE)
    keys = tuple(options.api_key or ([from_environment] if from_environment else []))
    try:
        faults = (*(read_scenario(options.faults) if options.faults else ()), *map(read_option, options.fault))
    except ScenarioError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    settings = Settings(
        host=options.host,
        port=options.port,
        dialect=options.dialect,
        api_keys=keys,
        state=options.state,
        batch_seconds=options.batch_seconds,
        models=tuple(name.strip() for name in options.models.split(",") if name.strip()),
        faults=faults,
        upstream=options.upstream,
        upstream_key=os.environ.get(options.upstream_key_env) if options.upstream_key_env else None,
        storage_port=options.storage_port,
        batches=not options.no_batches,
        chat_latency=options.chat_latency,
        chat_requests_per_minute=options.chat_requests_per_minute,
        chat_tokens_per_minute=options.chat_tokens_per_minute,
    )
    try:
        listeners = listen(settings)
    except OSError as error:
        sys.stderr.write(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; choose another --port\n")
        return 1
    try:
        with listeners, prepared(settings, listeners) as emulator:
            where = describe(emulator, listeners)
            sys.stdout.write(f"greennode_emulator speaks {settings.dialect} at {where.base_url}\n")
            if not keys:
                sys.stdout.write(f"API key: {where.api_key}\n")
            if emulator.dialect.description:
                sys.stdout.write(f"{emulator.dialect.name}: {emulator.dialect.description}\n")
            sys.stdout.flush()
            make_server(emulator).run(sockets=listeners.sockets)
    except StateInUseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
