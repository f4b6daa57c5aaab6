"""A shard set from a Spark DataFrame."""

from __future__ import annotations

import contextlib

import pyarrow as pa

from localmim import _shuffle
from localmim._columns import Columns


def ingest(df, out, *, key=None, bytes=None, label=None, root=None, **settings) -> dict:
    """Writes the pictures of a DataFrame as a shard set at `out`: the one that `ingest` writes.

    `df` is what Spark reads of pictures: `spark.read.format("binaryFile")`, Parquet with a column of
    pictures, WebDataset's columns. `key`, `bytes` and `label` name its columns, where they are not
    found by name; without `label` the class is the folder in the key. Names are told below `root`.
    `out` is a folder that all workers share, or an s3://, gs:// or az:// address. The settings are
    the options of `ingest`, with `_` for `-`.

    The DataFrame is read twice: once for hashes, once for pictures. The same call goes on where one
    that was killed has stopped. Gives the summary of the set.
    """
    from pyspark import StorageLevel

    columns = Columns.of(df.columns, key, bytes, label, root)
    job = _shuffle.Job.of(out, settings, columns)
    df = df.select(*columns.names)
    with _small_batches(df.sparkSession):
        marks = _map(df, job.mark, "key string, order bigint, hash binary")
        marks = marks.persist(StorageLevel.MEMORY_AND_DISK)
        begun = None
        try:
            orders = marks.select("order").toArrow()["order"].to_numpy()
            job, begun = job.begin(orders, "spark")
            if job is not None:
                job.check(_write(df, marks, job, len(orders)))
            return begun.commit()
        finally:
            marks.unpersist()
            if begun is not None:
                begun.release()


def _write(df, marks, job, pictures) -> list[int]:
    placed = "shard bigint, key string, bytes binary, label string, twin string"
    buckets = max(1, pictures // _shuffle.HASHES_AT_ONCE)
    twins = marks.where("hash is not null").repartition(buckets, "hash")
    twins = twins.mapInArrow(_whole(job.twins), "key string, order bigint, twin string")
    twins = _map(twins, job.place_twins, placed)
    rows = _map(df, job.place, placed).unionByName(twins)
    tasks = job.tasks()
    if hasattr(rows, "repartitionById") and tasks == len(job.counts):
        rows = rows.repartitionById(tasks, rows["shard"].cast("int"))
    else:
        rows = rows.repartition(tasks, "shard")
    rows = rows.sortWithinPartitions("shard")

    def write(batches):
        for written in job.write_all(batches):
            yield pa.RecordBatch.from_pylist(
                [dict(zip(_shuffle.WRITTEN.names, written))], schema=_shuffle.WRITTEN
            )

    written = rows.mapInArrow(write, "shard bigint, accepted bigint, rejected bigint, bytes bigint")
    return [row["shard"] for row in written.collect()]


def _map(df, function, schema):
    """Each batch by itself."""

    def each(batches):
        for batch in batches:
            if len(batch):
                mapped = function(batch)
                yield from mapped.to_batches() if isinstance(mapped, pa.Table) else [mapped]

    return df.mapInArrow(each, schema)


def _whole(function):
    """All batches of a partition at once."""

    def whole(batches):
        batches = [batch for batch in batches if len(batch)]
        if batches:
            yield from function(pa.Table.from_batches(batches)).to_batches()

    return whole


@contextlib.contextmanager
def _small_batches(spark):
    """Pictures are larger than the rows that Spark's default is meant for."""
    name = "spark.sql.execution.arrow.maxRecordsPerBatch"
    before = spark.conf.get(name)
    spark.conf.set(name, str(_shuffle.PICTURES_AT_ONCE))
    try:
        yield
    finally:
        spark.conf.set(name, before)
