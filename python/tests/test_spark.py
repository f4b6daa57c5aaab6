"""Spark as it is run: a driver and two workers, each a process of its own, of which one is killed."""

import os
import signal
import threading
import time

import pytest

import localmim.spark
from conftest import SHARD_PICTURES, assert_same_set, manifest, run
from executors import executors
from localmim._columns import Columns
from localmim.spark import _are_local_files

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
    told = []
    summary = localmim.spark.ingest(
        read(spark, pictures),
        out,
        root=pictures,
        shard_pictures=SHARD_PICTURES,
        progress=lambda done, total: told.append((done, total)),
    )
    killer.join(10)
    everything = summary["accepted"] + summary["rejected"]
    assert told == sorted(told) and told[-1] == (everything, everything)
    assert killed, "no worker was killed"
    assert summary["rejects"]["duplicate"] > 0
    assert_same_set(out, expected)
    # Nothing is left to do.
    told = []
    again = localmim.spark.ingest(
        read(spark, pictures),
        out,
        root=pictures,
        shard_pictures=SHARD_PICTURES,
        progress=lambda done, total: told.append((done, total)),
    )
    assert again == summary and told == [(everything, everything)]
    # What is damaged is made again, of files of the same names.
    for name in ("rejects.jsonl", manifest(out)["shards"][1]["file"]):
        (out / name).write_bytes(b"damaged")
    run("repair", out)
    assert_same_set(out, expected)


def test_parquet_is_read_with_its_columns(spark, pictures, expected, tmp_path):
    table = read(spark, pictures).selectExpr("path AS name", "content AS picture")
    table.write.parquet(f"file://{tmp_path}/table")
    out = tmp_path / "shards"
    table = spark.read.parquet(f"file://{tmp_path}/table")
    given = dict(key="name", bytes="picture", root=f"file://{pictures}")
    localmim.spark.ingest(table, out, shard_pictures=SHARD_PICTURES, **given)
    assert_same_set(out, expected)


def test_addresses_alone_are_enough(spark, pictures, expected, tmp_path, monkeypatch):
    out = tmp_path / "shards"
    # As if there were too many for the driver.
    monkeypatch.setattr(localmim.spark, "FEW", 0)
    addresses = read(spark, pictures).selectExpr("path AS url")
    given = dict(root=pictures, shard_pictures=SHARD_PICTURES)
    localmim.spark.ingest(addresses, out, **given)
    assert_same_set(out, expected)
    one = str(pictures / "broken.jpg")
    twice = spark.createDataFrame([(one,), (f"file:{one}",)], "path string")
    with pytest.raises(localmim.InputError, match="broken.jpg is there 2 times"):
        localmim.spark.ingest(twice, tmp_path / "twice", **given)
    away = spark.createDataFrame([("/nowhere/a.jpg",)], "path string")
    with pytest.raises(localmim.StoreError, match="/nowhere/a.jpg.* every node sees"):
        localmim.spark.ingest(away, tmp_path / "away")


def test_local_files_are_told_from_what_was_made_of_them(spark, pictures):
    files = read(spark, pictures)
    columns = Columns.of(files.columns)
    is_read_by_tasks = lambda df: _are_local_files(df, columns)
    assert is_read_by_tasks(files)
    assert is_read_by_tasks(files.where("length > 100").select("content", "path"))
    assert not is_read_by_tasks(files.selectExpr("path", "substring(content, 2) AS content"))
    assert not is_read_by_tasks(files.selectExpr("concat(path, 'x') AS path", "content"))
    assert not is_read_by_tasks(files.union(files))
    assert not is_read_by_tasks(spark.createDataFrame([("a", b"b")], "path string, content binary"))


def test_what_a_worker_finds_is_raised_by_its_kind(spark, pictures, tmp_path):
    with pytest.raises(localmim.InputError, match="does not lie below root=/elsewhere"):
        localmim.spark.ingest(read(spark, pictures), tmp_path / "shards", root="/elsewhere")
    nameless = spark.createDataFrame([(None, b"a")], "path string, content binary")
    with pytest.raises(localmim.InputError, match="a key is null"):
        localmim.spark.ingest(nameless, tmp_path / "shards")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(localmim.Error, match="file"):
        localmim.spark.ingest(read(spark, pictures), tmp_path / "file")
    with pytest.raises(localmim.InputError, match="df must be a DataFrame"):
        localmim.spark.ingest(str(pictures), tmp_path / "shards")
    with pytest.raises(localmim.InputError, match="progress must be a function"):
        localmim.spark.ingest(read(spark, pictures), tmp_path / "shards", progress=3)
