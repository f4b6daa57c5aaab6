"""Spark as it is run: a driver and two workers, each a process of its own, of which one is killed."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

import localmim.spark
from conftest import SHARD_PICTURES, assert_same_set

pyspark = pytest.importorskip("pyspark")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def spark():
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local-cluster[2,1,1024]")
        .config("spark.ui.enabled", "false")
        .config("spark.speculation", "true")
        .config("spark.speculation.multiplier", "1.1")
        .config("spark.sql.shuffle.partitions", "4")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


def read(spark, pictures):
    reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
    return reader.load(f"file://{pictures}")


def executors():
    """The processes of the workers, which are below this driver's."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")")[-1].split()[1])
            names[int(folder.name)] = (folder / "cmdline").read_text()
        except OSError:
            continue

    def is_ours(pid):
        while pid in parents and pid != os.getpid():
            pid = parents[pid]
        return pid == os.getpid()

    name = "CoarseGrainedExecutorBackend"
    return [pid for pid, words in names.items() if name in words and is_ours(pid)]


def test_the_set_is_that_of_ingest_though_a_worker_is_killed(spark, pictures, expected, tmp_path):
    out = tmp_path / "shards"
    killed = []

    def kill():
        # When the first shard is there, so that others are in work.
        while not list(out.glob("shard-*.parquet")):
            time.sleep(0.01)
        killed.append(executors()[0])
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    summary = localmim.spark.ingest(
        read(spark, pictures), out, root=pictures, shard_pictures=SHARD_PICTURES
    )
    killer.join(10)
    assert killed, "no worker was killed"
    assert summary["rejects"]["duplicate"] > 0
    assert_same_set(out, expected)
    # Nothing is left to do.
    again = localmim.spark.ingest(
        read(spark, pictures), out, root=pictures, shard_pictures=SHARD_PICTURES
    )
    assert again == summary


def test_parquet_is_read_with_its_columns(spark, pictures, expected, tmp_path):
    table = read(spark, pictures).selectExpr("path AS name", "content AS picture")
    table.write.parquet(f"file://{tmp_path}/table")
    out = tmp_path / "shards"
    table = spark.read.parquet(f"file://{tmp_path}/table")
    given = dict(key="name", bytes="picture", root=f"file://{pictures}")
    localmim.spark.ingest(table, out, shard_pictures=SHARD_PICTURES, **given)
    assert_same_set(out, expected)
