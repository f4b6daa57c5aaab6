"""What the documents show runs as it stands there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_notebook_runs(expected, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    monkeypatch.setenv("SHARDS", str(expected))
    notebook = nbformat.read(ROOT / "docs" / "notebook.ipynb", as_version=4)
    client.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)


def test_the_readme_s_batches_are_as_it_says(expected, monkeypatch, tmp_path):
    text = (ROOT / "README.md").read_text()
    text = text.split("## From Python")[1].split("\n## ")[0]
    snippets = re.findall(r"```python\n(.*?)```", text, re.S)
    snippet = next(code for code in snippets if "localmim.Dataset" in code)
    (tmp_path / "shards").symlink_to(expected)
    monkeypatch.chdir(tmp_path)
    exec(snippet, {})
