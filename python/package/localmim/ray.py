"""A shard set from a Ray Dataset."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from localmim import _shuffle
from localmim._columns import Columns


def ingest(ds, out, *, key=None, bytes=None, label=None, root=None, **settings) -> dict:
    """Writes the pictures of a Dataset as a shard set at `out`: the one that `ingest` writes.

    `ds` is what Ray reads of pictures: `read_binary_files(..., include_paths=True)`, `read_parquet`,
    `read_webdataset(..., decoder=None)`. All else is as in `localmim.spark.ingest`.
    """
    from ray.data.context import ShuffleStrategy

    columns = Columns.of(ds.schema().names, key, bytes, label, root)
    job = _shuffle.Job.of(out, settings, columns)
    # Tasks, whose results can be made again when a node dies; other ways keep theirs in actors.
    before = ds.context.shuffle_strategy
    ds.context.shuffle_strategy = ShuffleStrategy.SORT_SHUFFLE_PULL_BASED
    begun = None
    try:
        marks = _map(ds, job.mark).materialize()
        orders = np.concatenate([np.asarray(table["order"]) for table in _tables(marks)])
        job, begun = job.begin(orders, "ray")
        if job is not None:
            job.check(_write(ds, marks, job, len(orders)))
        return begun.commit()
    finally:
        ds.context.shuffle_strategy = before
        if begun is not None:
            begun.release()


def _write(ds, marks, job, pictures) -> list[int]:
    buckets = max(1, pictures // _shuffle.HASHES_AT_ONCE)

    def bucket(table):
        heads = np.array([hash[0] if hash else 0 for hash in table["hash"].to_pylist()], np.int64)
        return table.append_column("bucket", pa.array(heads * buckets // 256))

    def twins(table):
        return job.twins(table.select(_shuffle.MARKS.names))

    twins = _map(marks, bucket).groupby("bucket").map_groups(twins, batch_format="pyarrow")
    twins = _map(twins, job.place_twins).materialize()
    rows = _map(ds, job.place)
    if twins.count():
        rows = rows.union(twins)

    def write(table):
        shard = table["shard"][0].as_py()
        written = job.write(shard, table)
        return pa.Table.from_pylist(
            [dict(zip(_shuffle.WRITTEN.names, written))], schema=_shuffle.WRITTEN
        )

    written = rows.groupby("shard", num_partitions=job.tasks()).map_groups(
        write, batch_format="pyarrow", num_cpus=1
    )
    return [row["shard"] for row in written.take_all()]


def _map(ds, function):
    def each(table):
        mapped = function(table)
        return mapped if isinstance(mapped, pa.Table) else pa.Table.from_batches([mapped])

    size = _shuffle.PICTURES_AT_ONCE
    return ds.map_batches(each, batch_format="pyarrow", batch_size=size, zero_copy_batch=True)


def _tables(ds):
    import ray

    return ray.get(ds.to_arrow_refs())
