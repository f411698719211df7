from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

from airflow.providers_manager import ProvidersManager
from airflow.sdk.configuration import conf
from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

from greennode_airflow import get_provider_info

PLUGINS = Path(__file__).parents[2] / "plugins"


def test_the_provider_is_found_by_its_entry_point_under_the_distributions_name() -> None:
    manager = ProvidersManager()
    assert "greennode-airflow" in manager.providers
    assert get_provider_info()["package-name"] == importlib.metadata.distribution("greennode-airflow").name


def test_the_connection_form_names_its_fields_for_what_they_hold() -> None:
    manager = ProvidersManager()
    behaviour = manager.field_behaviours["greennode"]
    assert behaviour["relabeling"] == {"host": "Base URL", "password": "API key"}
    assert set(behaviour["hidden_fields"]) == {"schema", "login", "port"}
    widgets = manager.connection_form_widgets
    limits = {"max_batches_in_flight", "max_enqueued_tokens"}
    fields = {"profile", "allow_http_hosts", "keep_remote_files", "prices", "batch_url", *limits}
    assert {f"extra__greennode__{field}" for field in fields} <= set(widgets)


def test_the_settings_have_their_defaults() -> None:
    assert conf.get("greennode", "staging") == f"file://{os.environ['AIRFLOW_HOME']}/greennode"
    assert conf.getint("greennode", "staging_retention_days") == 30


def test_the_connection_type_leads_to_the_hook() -> None:
    hook = ProvidersManagerTaskRuntime().hooks["greennode"]
    assert hook is not None
    assert (hook.hook_class_name, hook.connection_testable) == ("greennode_airflow.hooks.GreenNodeHook", True)


def test_a_dag_file_that_declares_a_job_loads_neither_arrow_nor_a_driver() -> None:
    modules = "greennode_airflow.pipeline, greennode_airflow.operators.probe, greennode_airflow.operators.clean_staging"
    program = f"import sys, {modules}; print(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert "airflow.sdk" in loaded
    assert not {"numpy", "pandas", "pyarrow", "psycopg"}.intersection(loaded)


def test_the_plugin_is_found_by_its_entry_point() -> None:
    from airflow.plugins_manager import get_plugin_info  # noqa: PLC0415 - it loads all plugins

    mine = [plugin for plugin in get_plugin_info() if plugin["name"] == "greennode_batches"]
    assert len(mine) == 1
    views = {view["name"]: view.get("category") for view in mine[0]["external_views"]}
    assert views == {"GreenNode batches": "browse", "GreenNode": None, "GreenNode batch inference": "docs"}
    tabs = {view["destination"] for view in mine[0]["external_views"] if view["name"] == "GreenNode"}
    assert tabs == {"dag", "dag_run"}
    # Nobody is sent away from this Airflow: the manual is the project's own.
    assert all(view["href"].startswith("/greennode/") and view["url_route"] for view in mine[0]["external_views"])


_LIST_FILES_RUN_ALONE = """
import sys
from airflow.plugins_manager import get_plugin_info
get_plugin_info()
for name, module in list(sys.modules.items()):
    file = str(getattr(module, "__file__", ""))
    if "/greennode_airflow/" in file and not name.startswith("greennode_airflow"):
        print(name)
"""


def _files_run_alone(plugins: Path) -> list[str]:
    ended = subprocess.run(
        [sys.executable, "-c", _LIST_FILES_RUN_ALONE],
        env={**os.environ, "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins)},
        check=True,
        capture_output=True,
        text=True,
    )
    return [line for line in ended.stdout.splitlines() if line.isidentifier()]


def test_airflow_does_not_execute_the_packages_files_as_plugins_of_their_own(tmp_path: Path) -> None:
    """Airflow runs every file below plugins/ under its bare name, unless .airflowignore says no."""
    bare = tmp_path / "plugins"
    shutil.copytree(PLUGINS, bare, ignore=shutil.ignore_patterns(".airflowignore", "__pycache__"))
    assert "hooks" in _files_run_alone(bare), "the trap is gone: then .airflowignore can go as well"
    assert _files_run_alone(PLUGINS) == []
