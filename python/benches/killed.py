"""Spark and Ray at full size, with a worker of two killed midway: the sets are held against that of
`ingest`, byte for byte.

    python benches/killed.py PHOTOS [--shard-pictures 256] [--size 224 --cells 4,8,16,32]
    python benches/killed.py NEW_FOLDER --draw 100000 --shard-pictures 2048 --size 32 --cells 4,8

`--draw` draws small pictures first, a tenth of them copies of others.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import localmim.ray
import localmim.spark

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from executors import executors  # noqa: E402


def draw(folder, count):
    """Pictures of 32 pixels in seven classes, as BMP; each second of ten is the one before it again."""
    rng = np.random.default_rng(0)
    header = b"BM" + (54 + 3072).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    header += (40).to_bytes(4, "little") + (32).to_bytes(4, "little") * 2 + b"\x01\x00\x18\x00" + bytes(24)
    for number in range(count):
        if number % 10 != 1:
            # Shades with an edge, so that there is something to see.
            levels = rng.integers(0, 256, (2, 1, 1, 3))
            pixels = np.broadcast_to(levels[0], (32, 32, 3)).copy()
            pixels[:, rng.integers(1, 31) :] = levels[1][0]
            pixels = (pixels + rng.integers(-20, 20, pixels.shape)).clip(0, 255).astype(np.uint8)
        place = folder / f"class-{number % 7}" / f"{number // 1000:03}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:06}.bmp").write_bytes(header + pixels.tobytes())


def same(one, other):
    read = lambda out: json.loads((Path(out) / "manifest.json").read_text())
    assert read(one)["shards"] == read(other)["shards"], "the sets differ"
    assert (one / "rejects.jsonl").read_bytes() == (other / "rejects.jsonl").read_bytes()
    for shard in read(one)["shards"]:
        assert (one / shard["file"]).read_bytes() == (other / shard["file"]).read_bytes()


def killing(out, kill, shards):
    """Kills when a third of the shards are there; gives how many were."""
    found = []

    def watch():
        while (there := len(list(out.glob("shard-*.parquet")))) < max(1, shards // 3):
            time.sleep(0.02)
        kill()
        found.append(there)

    threading.Thread(target=watch, daemon=True).start()
    return found


def with_spark(pictures, out, shards, settings):
    from pyspark.sql import SparkSession

    session = SparkSession.builder.master("local-cluster[2,1,2048]").config("spark.driver.memory", "3g")
    session = session.config("spark.ui.enabled", "false").getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    reader = session.read.format("binaryFile").option("recursiveFileLookup", "true")
    killed = killing(out, lambda: os.kill(executors()[0], signal.SIGKILL), shards)
    begin = time.perf_counter()
    localmim.spark.ingest(reader.load(f"file://{pictures}"), out, **settings)
    taken = time.perf_counter() - begin
    session.stop()
    return killed, taken


def with_ray(pictures, out, shards, settings):
    import ray
    from ray.cluster_utils import Cluster

    memory = dict(object_store_memory=1 << 30)
    cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1, **memory))
    second = cluster.add_node(num_cpus=1, **memory)
    ray.init(address=cluster.address, log_to_driver=False)
    cluster.wait_for_nodes()
    kill = lambda: cluster.remove_node(second, allow_graceful=False)
    killed = killing(out, kill, shards)
    begin = time.perf_counter()
    ds = ray.data.read_binary_files(str(pictures), include_paths=True)
    localmim.ray.ingest(ds, out, **settings)
    taken = time.perf_counter() - begin
    ray.shutdown()
    cluster.shutdown()
    return killed, taken


def main():
    flags = argparse.ArgumentParser()
    flags.add_argument("pictures", type=Path)
    flags.add_argument("--draw", type=int)
    flags.add_argument("--shard-pictures", type=int, default=256)
    flags.add_argument("--size", type=int, default=224)
    flags.add_argument("--cells", default="4,8,16,32")
    given = flags.parse_args()
    os.environ["PYSPARK_PYTHON"] = sys.executable
    if given.draw:
        draw(given.pictures, given.draw)
    work = Path(tempfile.mkdtemp())
    settings = dict(shard_pictures=given.shard_pictures, size=given.size, cells=given.cells)
    words = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    program = os.environ.get("LOCALMIM_INGEST", "ingest")
    begin = time.perf_counter()
    expected = work / "ingest"
    words = [program, str(given.pictures), "--out", str(expected), "--threads", "2", *words]
    subprocess.run(words, check=True, capture_output=True)
    taken = time.perf_counter() - begin
    manifest = json.loads((expected / "manifest.json").read_text())
    pictures, shards = manifest["accepted"] + manifest["rejected"], len(manifest["shards"])
    print(f"ingest  {taken:6.1f} s   {pictures} pictures in {shards} shards", flush=True)
    for name, run in (("spark", with_spark), ("ray", with_ray)):
        out = work / name
        killed, taken = run(given.pictures, out, shards, dict(root=given.pictures, **settings))
        assert killed, "nobody was killed"
        same(out, expected)
        print(f"{name:7} {taken:6.1f} s   killed at {killed[0]} shards; the same set", flush=True)
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
