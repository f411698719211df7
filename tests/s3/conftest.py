"""Two S3 servers that differ where it matters: one honours conditional puts, one ignores them."""

import functools
import json
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from botocore.loaders import JSONFileLoader
from moto.server import DomainDispatcherApplication, create_backend_app
from upath import UPath
from werkzeug.serving import WSGIRequestHandler, make_server

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import ApiProfile
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.plan.build import build
from greennode_batch.source.rows import Rows
from greennode_batch.staging import exclusive
from greennode_batch.staging.folders import RunFolder, ShardFolder, run_folder
from greennode_local.object_store import running_object_store
from greennode_local.ports import LOOPBACK

SETTLE_SECONDS = 0.8


class Store(NamedTuple):
    """A running server."""

    name: str
    options: dict[str, str]

    @property
    def honours_conditions(self) -> bool:
        return self.name != "rclone"


class _Quiet(WSGIRequestHandler):
    def log_request(self, code="-", size="-"):
        pass


class _OneAtATime:
    """moto looks and then writes, in two steps; a store that honours conditional puts does it in one.

    terse: its refusals do not say which condition did not hold, as those of many stores do not.
    """

    def __init__(self, *, terse: bool) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._terse = terse
        self._turn = threading.Lock()

    def __call__(self, environ, start_response):
        started = []
        with self._turn:
            body = b"".join(self._app(environ, lambda status, headers, _=None: started.append((status, headers))))
        status, headers = started[0]
        if self._terse and status.startswith("412"):
            body = body.replace(b"<Condition>If-None-Match</Condition>", b"")
            headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
        start_response(status, headers)
        return [body]


@pytest.fixture(scope="session", autouse=True)
def _service_models_are_read_once() -> Iterator[None]:
    """Tests open stores anew, as other workers would; what botocore knows of S3 is the same for all of them."""
    load = JSONFileLoader.load_file
    once = functools.cache(lambda path: load(JSONFileLoader(), path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _self, path: once(path))
        yield


@pytest.fixture(scope="session")
def _rclone() -> Iterator[Store]:
    with tempfile.TemporaryDirectory(prefix="greennode-test-s3-") as folder:
        home = Path(folder)
        with running_object_store(home / "objects", log=home / "objects.log", home=home) as server:
            yield Store("rclone", server.storage_options)


def _moto(name: str) -> Iterator[Store]:
    server = make_server(LOOPBACK, 0, _OneAtATime(terse=name == "terse"), threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        options = {"endpoint_url": f"http://{LOOPBACK}:{server.port}", "key": "key", "secret": "secret"}
        yield Store(name, options)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="session")
def _honouring() -> Iterator[Store]:
    yield from _moto("moto")


@pytest.fixture(scope="session")
def _terse() -> Iterator[Store]:
    yield from _moto("terse")


@pytest.fixture(params=["moto", "rclone"])
def store(request: pytest.FixtureRequest) -> Store:
    """Each of the two servers."""
    return request.getfixturevalue({"moto": "_honouring", "rclone": "_rclone"}[request.param])


@pytest.fixture
def rclone(_rclone: Store) -> Store:
    return _rclone


@pytest.fixture
def terse(_terse: Store) -> Store:
    return _terse


@pytest.fixture(autouse=True)
def _short_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exclusive, "SETTLE_SECONDS", SETTLE_SECONDS)


MakeBucket = Callable[[Store], UPath]


@pytest.fixture
def make_bucket() -> MakeBucket:
    """A new bucket of a server."""

    def make(store: Store) -> UPath:
        bucket = UPath(f"s3://test-{uuid.uuid4().hex}", **store.options)
        bucket.mkdir()
        return bucket

    return make


@pytest.fixture
def bucket(store: Store, make_bucket: MakeBucket) -> UPath:
    """A new bucket of each server."""
    return make_bucket(store)


@pytest.fixture
def job() -> BatchJob:
    return BatchJob(
        name="job",
        source=FileSource(path="rows.parquet"),
        target=FileTarget(path="answers.parquet"),
        key="id",
        model="google/gemma-4-31b-it",
        prompt="{{ text }}",
        max_shard_requests=2,
    )


@pytest.fixture
def make_shard(job: BatchJob) -> Callable[[UPath], ShardFolder]:
    """Builds a run below a root; its only shard."""

    def make(root: UPath) -> ShardFolder:
        run: RunFolder = run_folder(root, "job", "run")

        def rows() -> Rows:
            return Rows.from_tuples(("id", "text"), iter([[(1, "hello"), (2, "world")]]))

        plan = build(job, rows, run, run_id="run_1", profile=ApiProfile())
        return run.shard(plan.shards[0].shard_id)

    return make


@pytest.fixture
def client(emulator) -> Iterator[GreenNodeClient]:
    with GreenNodeClient(emulator.base_url, emulator.api_key) as made:
        yield made


@pytest.fixture
def airflow_root(store: Store, bucket: UPath, monkeypatch: pytest.MonkeyPatch) -> str:
    """A staging root as a deployment writes it: the bucket by a connection of type aws, which the environment has."""
    # Airflow keeps a file system for each connection id.
    conn_id = f"s3_{store.name}_{uuid.uuid4().hex}"
    fields = {
        "conn_type": "aws",
        "login": store.options["key"],
        "password": store.options["secret"],
        "extra": {"endpoint_url": store.options["endpoint_url"], "region_name": "us-east-1"},
    }
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
    return f"s3://{conn_id}@{bucket.path.strip('/')}/staging"
