"""A store that speaks S3 (moto, a server of its own on loopback): pictures and shards in buckets."""

import multiprocessing
import os

import pytest

import localmim
import localmim.spark
from conftest import SHARD_PICTURES, manifest

moto = pytest.importorskip("moto.server")
boto3 = pytest.importorskip("boto3")
pytest.importorskip("pyspark")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def store():
    """Where it is, in the variables that all stores are found by."""
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    client = boto3.client("s3", endpoint_url=variables["AWS_ENDPOINT_URL"])
    for bucket in ("photos", "lake"):
        client.create_bucket(Bucket=bucket)
    yield client, variables
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    server.stop()


@pytest.fixture(scope="module")
def spark(store):
    from pyspark.sql import SparkSession

    session = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    for name, value in store[1].items():
        session = session.config(f"spark.executorEnv.{name}", value)
    session = session.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture(scope="module")
def photos(store, pictures):
    """The pictures in a bucket, up to 300 of them."""
    files = sorted(path for path in pictures.rglob("*") if path.is_file())
    # As many copies as there are in all, so that some are of others.
    files = files[:250] + [path for path in files if path.parent.name == "copies"][:50]
    names = sorted({path.relative_to(pictures).as_posix() for path in files})
    for name in names:
        store[0].upload_file(str(pictures / name), "photos", f"raw/{name}")
    return names


def test_pictures_and_shards_lie_in_buckets(store, spark, photos, pictures, tmp_path):
    client, variables = store
    settings = dict(shard_pictures=SHARD_PICTURES)
    # The same files as a folder on this machine.
    addresses = spark.createDataFrame([(f"{pictures}/{name}",) for name in photos], "path string")
    localmim.spark.ingest(addresses, tmp_path / "here", root=pictures, **settings)
    # As Spark names them.
    addresses = spark.createDataFrame([(f"s3a://photos/raw/{name}",) for name in photos], "path string")
    summary = localmim.spark.ingest(
        addresses, "s3://lake/shards", root="s3a://photos/raw", **settings
    )
    assert summary["accepted"] + summary["rejected"] == len(photos)
    assert localmim.verify("s3://lake/shards") == []
    for shard in manifest(tmp_path / "here")["shards"]:
        body = client.get_object(Bucket="lake", Key=f"shards/{shard['file']}")["Body"].read()
        assert body == (tmp_path / "here" / shard["file"]).read_bytes()
    again = localmim.spark.ingest(addresses, "s3://lake/shards", root="s3a://photos/raw", **settings)
    assert again == summary

    here, there = (
        localmim.Dataset(at, 8, flip=True, even=False)
        for at in (tmp_path / "here", "s3://lake/shards")
    )
    assert len(here) == len(there)
    for ours, theirs in zip(here, there):
        assert (ours["id"] == theirs["id"]).all() and (ours["picture"] == theirs["picture"]).all()
        assert all((ours["targets"][cell] == theirs["targets"][cell]).all() for cell in here.cells)

    # A forked worker has none of the threads that its parent's requests run on.
    there.set_epoch(here.epoch)
    fork = multiprocessing.get_context("fork")
    read = fork.Queue()
    worker = fork.Process(target=lambda: read.put([batch["id"].tolist() for batch in there]), daemon=True)
    worker.start()
    try:
        assert read.get(timeout=60) == [batch["id"].tolist() for batch in here]
    finally:
        worker.kill()
        worker.join()


def test_what_is_missing_is_told_by_its_address(store, spark, photos, tmp_path):
    with pytest.raises(localmim.Error, match="s3://lake/none"):
        localmim.Dataset("s3://lake/none", 4)
    # A picture that is gone is a reject.
    names = [f"s3://photos/raw/{name}" for name in (*photos[:3], "gone.jpg")]
    addresses = spark.createDataFrame([(name,) for name in names], "path string")
    summary = localmim.spark.ingest(addresses, tmp_path / "one")
    assert summary["rejects"].get("unreadable") == 1
