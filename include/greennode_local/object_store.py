"""An S3 server on real files, from a wheel, on a loopback port. It ignores conditional puts, as some others do."""

import contextlib
import os
import secrets
import shutil
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from upath import UPath

from greennode_local.local_error import LocalError
from greennode_local.ports import LOOPBACK, free_port, is_free
from greennode_local.processes import MARK, Service, wait_until


@dataclass
class ObjectStore:
    """A server that can be stopped and started again: port, keys and files stay the same."""

    folder: Path
    log: Path
    home: Path
    port: int = field(default_factory=free_port)
    # The server wants ten characters or more of each, without a comma.
    key: str = field(default_factory=lambda: secrets.token_hex(10))
    secret: str = field(default_factory=lambda: secrets.token_hex(20), repr=False)
    service: Service | None = field(default=None, init=False, repr=False)

    @property
    def endpoint_url(self) -> str:
        """The address for clients, in place of Amazon's."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def storage_options(self) -> dict[str, str]:
        """The options for `UPath("s3://…", **storage_options)`. Holds the secret."""
        return {"endpoint_url": self.endpoint_url, "key": self.key, "secret": self.secret}

    def make_bucket(self, name: str) -> UPath:
        """The bucket's path; it is made if it does not exist."""
        bucket = UPath(f"s3://{name}", **self.storage_options)
        bucket.mkdir(exist_ok=True)
        return bucket

    def start(self) -> None:
        """Start the server and wait until it answers."""
        if self.service is not None:
            raise LocalError("the object store was started already")
        # Otherwise another process on this port would answer.
        if not is_free(self.port):
            raise LocalError(f"port {self.port} of {LOOPBACK} is taken")
        self.service = Service(
            "object store",
            # An empty --config: the user's rclone configuration must not matter here.
            [_program(), "serve", "s3", "--config", "", "--addr", f"{LOOPBACK}:{self.port}", str(self.folder)],
            # Quoted, as a list of one pair. In the environment, because others can read a command line.
            env={"PATH": os.defpath, "RCLONE_AUTH_KEY": f'"{self.key},{self.secret}"', MARK: str(self.home)},
            log=self.log,
        )
        # A new client for each check would read the certificates each time.
        with httpx.Client(timeout=2, trust_env=False) as http:
            wait_until(
                lambda: self._answers(http),
                what="the object store",
                seconds=120,
                services=[self.service],
                poll_seconds=0.05,
            )

    def stop(self) -> None:
        """Stop the server, if it runs."""
        if self.service is not None:
            self.service.stop(grace_seconds=3)
            self.service = None

    def _answers(self, http: httpx.Client) -> bool:
        try:
            # Any answer will do: without a signature it is a refusal.
            http.get(self.endpoint_url)
        except httpx.TransportError:
            return False
        return True


@contextlib.contextmanager
def running_object_store(folder: Path, *, log: Path, home: Path) -> Iterator[ObjectStore]:
    """A server on the files in `folder` (made if missing), one folder a bucket. Stopped at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    store = ObjectStore(folder=folder, log=log, home=home)
    try:
        store.start()
        yield store
    finally:
        store.stop()


def _program() -> str:
    found = shutil.which("rclone", path=sysconfig.get_path("scripts"))
    if found is None:
        raise LocalError("rclone is not installed beside Python: install the development requirements")
    return found
