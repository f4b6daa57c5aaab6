"""Pictures, and the set that `ingest` makes of them, which all tests hold theirs against.

LOCALMIM_INGEST is the program; LOCALMIM_PICTURES a tar of photos in class folders, else those that
`ingest sample` draws are taken.
"""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

INGEST = os.environ.get("LOCALMIM_INGEST", "ingest")
PHOTOS = os.environ.get("LOCALMIM_PICTURES")
# Few pictures a shard, so that there are several, and some are made before a worker dies.
SHARD_PICTURES = 256 if PHOTOS else 16


def run(*words):
    done = subprocess.run([INGEST, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """A folder of pictures, copies and broken files among them."""
    folder = tmp_path_factory.mktemp("pictures") / "raw"
    if PHOTOS:
        folder.mkdir()
        with tarfile.open(PHOTOS) as tar:
            tar.extractall(folder, filter="data")
    else:
        run("sample", "--out", folder, "--pictures", 120)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    # Spark passes over them.
    for empty in [path for path in files if not path.stat().st_size]:
        files.remove(empty)
        empty.unlink()
    copies = folder / "copies"
    copies.mkdir()
    for number, file in enumerate(files[::9]):
        (copies / f"{number}{file.suffix}").write_bytes(file.read_bytes())
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    return folder


@pytest.fixture(scope="session")
def expected(pictures, tmp_path_factory) -> Path:
    """The set that `ingest` makes."""
    out = tmp_path_factory.mktemp("expected") / "shards"
    run(pictures, "--out", out, "--shard-pictures", SHARD_PICTURES)
    return out


def manifest(out):
    return json.loads((Path(out) / "manifest.json").read_text())


def assert_same_set(out, expected):
    """Every row, and every other byte of every shard, is that of `ingest`."""
    run("verify", out)
    found, wanted = manifest(out), manifest(expected)
    assert found["shards"] == wanted["shards"]
    assert found["classes"] == wanted["classes"]
    for name in ("accepted", "rejected", "pictures", "first", "shards"):
        assert found["parts"][0][name] == wanted["parts"][0][name], name
    assert (Path(out) / "rejects.jsonl").read_bytes() == (Path(expected) / "rejects.jsonl").read_bytes()
    for shard in wanted["shards"]:
        file = shard["file"]
        assert (Path(out) / file).read_bytes() == (Path(expected) / file).read_bytes(), file


def read_set(out):
    files = [Path(out) / shard["file"] for shard in manifest(out)["shards"]]
    return pq.ParquetDataset(files).read()


def pytest_configure(config):
    # Processes of the engines find these modules, too.
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    # Ray's workers would give way to whatever else the machine does, and tests wait for them.
    os.environ.setdefault("RAY_worker_niceness", "0")
