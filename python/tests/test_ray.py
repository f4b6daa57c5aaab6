"""Ray as it is run: a cluster of two nodes, each with processes of its own, of which one is killed."""

import threading
import time

import pyarrow as pa
import pytest

import localmim.ray
from conftest import SHARD_PICTURES, assert_same_set, manifest

ray = pytest.importorskip("ray")


@pytest.fixture
def cluster():
    from ray.cluster_utils import Cluster

    memory = dict(object_store_memory=512 << 20)
    cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1, **memory))
    second = cluster.add_node(num_cpus=1, **memory)
    ray.init(address=cluster.address, log_to_driver=False)
    cluster.wait_for_nodes()
    yield cluster, second
    ray.shutdown()
    cluster.shutdown()


def test_the_set_is_that_of_ingest_though_a_node_is_killed(cluster, pictures, expected, tmp_path):
    cluster, second = cluster
    out = tmp_path / "shards"
    killed = []

    def kill():
        while not list(out.glob("shard-*.parquet")):
            time.sleep(0.01)
        cluster.remove_node(second, allow_graceful=False)
        killed.append(second)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    ds = ray.data.read_binary_files(str(pictures), include_paths=True)
    told = []
    summary = localmim.ray.ingest(
        ds,
        out,
        root=pictures,
        shard_pictures=SHARD_PICTURES,
        progress=lambda done, total: told.append((done, total)),
    )
    killer.join(30)
    everything = summary["accepted"] + summary["rejected"]
    assert told == sorted(told) and told[-1] == (everything, everything)
    assert killed, "no node was killed"
    assert summary["rejects"]["duplicate"] > 0
    assert_same_set(out, expected)


def test_what_a_dataset_carries_is_shuffled_though_a_node_is_killed(
    cluster, pictures, expected, tmp_path
):
    cluster, second = cluster
    out = tmp_path / "shards"

    def kill():
        while not list(out.glob("shard-*.parquet")):
            time.sleep(0.01)
        cluster.remove_node(second, allow_graceful=False)

    files = ray.data.read_binary_files(str(pictures), include_paths=True)
    ds = files.map_batches(lambda table: table, batch_format="pyarrow")
    assert localmim.ray._local_files(files, None, None, None)
    assert localmim.ray._local_files(ds, None, None, None) is None
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    localmim.ray.ingest(ds, out, root=pictures, shard_pictures=SHARD_PICTURES)
    killer.join(30)
    assert not killer.is_alive(), "no node was killed"
    assert_same_set(out, expected)


def test_addresses_alone_are_enough_and_errors_are_told_by_kind(
    cluster, pictures, expected, tmp_path
):
    files = sorted(str(path) for path in pictures.rglob("*") if path.is_file())
    ds = ray.data.from_arrow(pa.table({"url": files, "other": list(range(len(files)))}))
    given = dict(root=pictures, shard_pictures=SHARD_PICTURES)
    localmim.ray.ingest(ds, tmp_path / "one", **given)
    assert_same_set(tmp_path / "one", expected)

    with pytest.raises(localmim.InputError, match="does not lie below root=/elsewhere") as raised:
        localmim.ray.ingest(ds, tmp_path / "two", root="/elsewhere")
    # In its own words, without the way that it came.
    assert "Traceback" not in str(raised.value) and "_columns.py" not in str(raised.value)
    nameless = ray.data.from_arrow(pa.table({"path": [None, "b"], "bytes": [b"a", b"b"]}))
    with pytest.raises(localmim.InputError, match="a key is null"):
        localmim.ray.ingest(nameless, tmp_path / "two")
    with pytest.raises(localmim.InputError, match="ds must be a Dataset"):
        localmim.ray.ingest(str(pictures), tmp_path / "two")


def test_parquet_and_webdataset_are_read(cluster, pictures, expected, tmp_path, monkeypatch):
    import tarfile

    monkeypatch.chdir(pictures)
    files = ray.data.read_binary_files(".", include_paths=True)
    assert localmim.ray._local_files(files, None, None, None)
    localmim.ray.ingest(files, tmp_path / "zero", shard_pictures=SHARD_PICTURES)
    found, wanted = manifest(tmp_path / "zero"), manifest(expected)
    assert (found["accepted"], found["rejected"]) == (wanted["accepted"], wanted["rejected"])
    ds = ray.data.read_binary_files(str(pictures), include_paths=True)
    addresses = ds.select_columns(["path"])
    localmim.ray.ingest(addresses, tmp_path / "a", root=pictures, shard_pictures=SHARD_PICTURES)
    assert_same_set(tmp_path / "a", expected)
    with pytest.raises(localmim.InputError, match="is there 2 times"):
        localmim.ray.ingest(addresses.union(addresses), tmp_path / "twice")
    ds.write_parquet(str(tmp_path / "table"))
    table = ray.data.read_parquet(str(tmp_path / "table"))
    localmim.ray.ingest(
        table, tmp_path / "one", root=pictures, shard_pictures=SHARD_PICTURES
    )
    assert_same_set(tmp_path / "one", expected)

    files = sorted(path for path in pictures.rglob("*.jpg") if path.stat().st_size)[:40]
    with tarfile.open(tmp_path / "pictures.tar", "w") as tar:
        for number, file in enumerate(files):
            tar.add(file, f"{number:03}.jpg")
    ds = ray.data.read_webdataset(str(tmp_path / "pictures.tar"), decoder=None)
    summary = localmim.ray.ingest(ds, tmp_path / "two", shard_pictures=SHARD_PICTURES)
    assert summary["accepted"] + summary["rejected"] == len(files)
    assert localmim.verify(str(tmp_path / "two")) == []
