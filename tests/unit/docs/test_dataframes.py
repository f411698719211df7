"""What docs/how-to/dataframes.md shows works: its blocks run in their order, as a reader would paste them."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "dataframes.md").read_text()


def test_its_examples_run_as_they_are_shown(tmp_path, monkeypatch, emulator, quick_polls, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("GREENNODE_API_KEY", emulator.api_key)
    monkeypatch.setenv("GREENNODE_BASE_URL", emulator.base_url)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    names = {"__name__": "notebook"}
    shown = []
    for block in blocks:
        exec(compile(block, "docs/how-to/dataframes.md", "exec"), names)
        shown.append(capsys.readouterr().out)
    assert list(names["answers"]["id"]) == list(range(10))
    assert set(names["answers"]["status"]) == {"succeeded"}
    assert set(names["labels"]["department"]) <= {"billing", "support", "sales"}
    assert str(names["labels"]["urgent"].dtype) == "boolean"
    assert names["seen"].requests == 10
    # The result of the call that was made before: it asked nothing.
    assert names["result"].report.unchanged == 10
    assert all(shown[1:])
