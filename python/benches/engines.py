"""Time of Spark and Ray beside `ingest` on the same cores and pictures, one after the other: by the
clock, and the seconds that cores computed, which other programs do not lengthen as much.

    python benches/engines.py PHOTOS [--rounds 3] [--cores 2]

Engines are up, and their workers warm, before time is taken; the sets are compared.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import localmim
import localmim.ray
import localmim.spark


def same(one, other):
    read = lambda out: json.loads((Path(out) / "manifest.json").read_text())["shards"]
    assert read(one) == read(other), "the sets differ"


def computed() -> float:
    """Seconds that this process and all below it have computed."""
    parents, seconds = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "stat").read_text().rsplit(")")[-1].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(words[1])
        seconds[int(folder.name)] = sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")

    def is_ours(pid):
        while pid in parents and pid != os.getpid():
            pid = parents[pid]
        return pid == os.getpid()

    return sum(taken for pid, taken in seconds.items() if is_ours(pid))


def main():
    flags = argparse.ArgumentParser()
    flags.add_argument("pictures", type=Path)
    flags.add_argument("--rounds", type=int, default=3)
    flags.add_argument("--cores", type=int, default=2)
    flags.add_argument("--views", type=int, default=1)
    flags.add_argument("--shard-pictures", type=int, default=256)
    flags.add_argument("--engines", default="spark,ray")
    given = flags.parse_args()
    settings = dict(views=given.views, shard_pictures=given.shard_pictures, root=given.pictures)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    work = Path(tempfile.mkdtemp())

    def ingest(out):
        program = os.environ.get("LOCALMIM_INGEST", "ingest")
        words = [program, given.pictures, "--out", out, "--threads", given.cores]
        words += ["--views", given.views, "--shard-pictures", given.shard_pictures]
        subprocess.run(list(map(str, words)), check=True, capture_output=True)

    runs = {"ingest": ingest}
    if "spark" in given.engines:
        from pyspark.sql import SparkSession

        master = f"local[{given.cores}]"
        session = SparkSession.builder.master(master).config("spark.driver.memory", "3g")
        # Files are small: Spark's default makes a task of each thirty.
        session = session.config("spark.sql.files.openCostInBytes", 65536)
        session = session.config("spark.ui.enabled", "false").getOrCreate()
        session.sparkContext.setLogLevel("ERROR")

        def spark(out):
            reader = session.read.format("binaryFile").option("recursiveFileLookup", "true")
            localmim.spark.ingest(reader.load(f"file://{given.pictures}"), out, **settings)

        runs["spark"] = spark
    if "ray" in given.engines:
        # Its workers give way to whatever else a machine does, `ingest` and Spark do not.
        os.environ.setdefault("RAY_worker_niceness", "0")
        import ray

        ray.init(num_cpus=given.cores, log_to_driver=False)
        ray.data.DataContext.get_current().enable_progress_bars = False

        def with_ray(out):
            ds = ray.data.read_binary_files(str(given.pictures), include_paths=True)
            localmim.ray.ingest(ds, out, **settings)

        runs["ray"] = with_ray

    times, cores = {name: [] for name in runs}, {name: [] for name in runs}
    for turn in range(given.rounds + 1):
        for name, run in runs.items():
            out = work / f"{name}-{turn}"
            begin, before = time.perf_counter(), computed()
            run(out)
            taken, worked = time.perf_counter() - begin, computed() - before
            # The first round warms engines and the page cache.
            if turn:
                times[name].append(taken)
                cores[name].append(worked)
            if name != "ingest":
                same(out, work / f"ingest-{turn}")
        for name in runs:
            shutil.rmtree(work / f"{name}-{turn}")
    for name, taken in times.items():
        said = f"{name:7}"
        for what, all in (("s", times), ("s of a core", cores)):
            ratios = [one / base for one, base in zip(all[name], all["ingest"])]
            said += f" {statistics.median(all[name]):7.2f} {what} ({statistics.median(ratios):.2f} times)"
        print(said, [round(t, 2) for t in taken])


if __name__ == "__main__":
    main()
