"""Draws the diagrams of docs/pictures/: each `<name>.mmd` (Mermaid) becomes `<name>.svg`.

The site and the manual in Airflow show the picture, so that neither loads Mermaid. It needs Debian's packages chromium
and npm: `make pictures`.
"""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path

from greennode_local.chromium import chromium

MERMAID = "mermaid@11.17.2"
PICTURES = Path(__file__).with_name("pictures")
SETTINGS = {"startOnLoad": False, "htmlLabels": False, "fontFamily": "sans-serif", "theme": "neutral"}
_DRAW = """async ([name, text, settings]) => {
    mermaid.initialize(settings);
    return (await mermaid.render(name, text)).svg;
}"""


def main() -> None:
    """Draw every diagram."""
    script = _mermaid()
    with chromium() as browser:
        page = browser.new_page()
        page.add_script_tag(content=script)
        for path in sorted(PICTURES.glob("*.mmd")):
            text = path.read_text(encoding="utf-8")
            drawn = page.evaluate(_DRAW, [path.stem, text, SETTINGS])
            # Black lines stay readable on a dark page.
            drawn = drawn.replace('style="max-width', 'style="background: white; max-width', 1)
            path.with_suffix(".svg").write_text(f"{drawn_from(text)}\n{drawn}\n", encoding="utf-8")


def drawn_from(text: str) -> str:
    """The first line of a picture, by which a test sees whether it is of this text."""
    return f"<!-- {hashlib.sha256(text.encode()).hexdigest()} -->"


def _mermaid() -> str:
    with tempfile.TemporaryDirectory() as folder:
        packed = ["npm", "pack", "--silent", "--pack-destination", folder, MERMAID]
        name = subprocess.run(packed, capture_output=True, text=True, check=True).stdout.strip()
        with tarfile.open(Path(folder) / name) as archive:
            file = archive.extractfile("package/dist/mermaid.min.js")
            assert file is not None, "the package has its script"
            return file.read().decode()


if __name__ == "__main__":
    main()
