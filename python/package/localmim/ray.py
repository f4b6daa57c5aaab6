"""A shard set from a Ray Dataset."""

from __future__ import annotations

import contextlib

import numpy as np
import pyarrow as pa

from localmim import _arguments, _errors, _progress, _shuffle
from localmim._columns import Columns
from localmim._localmim import InputError

# Tasks for each core, of those that look at pictures by their addresses.
TASKS_A_CORE = 2
# Least pictures of such a task.
LEAST = 256
# How often a task is run again whose node has died.
RETRIES = 10


def ingest(
    ds, out, *, key=None, bytes=None, label=None, root=None, progress=None, **settings
) -> dict:
    """Writes the pictures of a Dataset as a shard set at `out`: the one that `ingest` writes.

    `ds` is what Ray reads of pictures: `read_binary_files(..., include_paths=True)`, `read_parquet`,
    `read_webdataset(..., decoder=None)`. All else is as in `localmim.spark.ingest`.
    """
    if not hasattr(ds, "map_batches"):
        raise InputError(f"ds must be a Dataset of Ray, not {type(ds).__name__}")
    _arguments.callable_or_none("progress", progress)
    files = _local_files(ds, key, bytes, label)
    if files is not None:
        columns, table = Columns.of(["path"], root=root), pa.table({"path": files})
    else:
        columns, table = Columns.of(ds.schema().names, key, bytes, label, root), None
    job = _shuffle.Job.of(out, settings, columns)
    begun = None
    with _errors.of_workers():
        if files is None and columns.bytes is None:
            table = pa.concat_tables(_tables(ds.select_columns(columns.names)))
        make = _of_tables(ds) if table is None else contextlib.nullcontext(_Named(table))
        with make as make:
            try:
                job, begun = job.begin(make.orders(job), "ray")
                if job is not None:
                    with _progress.told(progress, begun, job.counts, job.done):
                        job.check(make.write(job))
                return begun.commit()
            finally:
                if begun is not None:
                    begun.release()


class _Named:
    """Pictures by their addresses: who drives knows all of them, and tasks read them."""

    def __init__(self, table: pa.Table):
        self.table = table

    def orders(self, job) -> np.ndarray:
        import ray

        cores = int(ray.cluster_resources().get("CPU", 1))
        many = max(LEAST, -(-len(self.table) // (TASKS_A_CORE * cores)))
        mark, job = _task(_shuffle.Job.mark), ray.put(job)
        parts = [self.table.slice(at, many) for at in range(0, len(self.table), many)]
        marks = ray.get([mark.remote(job, part) for part in parts])
        self.marks = pa.Table.from_batches(marks, schema=_shuffle.MARKS)
        return self.marks["order"].to_numpy()

    def write(self, job) -> list[int]:
        import ray

        placed = [job.place_marks(self.marks), job.place_twins(job.twins(self.marks))]
        placed = pa.concat_tables(placed).sort_by("shard").combine_chunks()
        shards = placed["shard"].to_numpy()
        begins = np.flatnonzero(np.diff(shards, prepend=-1))
        ends = np.append(begins[1:], len(shards))
        write, job = _task(_shuffle.Job.write), ray.put(job)
        # A slice is sent with all that it is a part of: it is taken out.
        taken = (placed.take(np.arange(begin, end)) for begin, end in zip(begins, ends))
        made = [write.remote(job, int(shards[at]), of) for at, of in zip(begins, taken)]
        return [shard for shard, *_ in ray.get(made)]


def _task(function):
    import ray

    return ray.remote(num_cpus=1, max_retries=RETRIES)(function)


class _Carried:
    """Pictures that a Dataset carries: they are shuffled, so that those of a shard meet."""

    def __init__(self, ds):
        self.ds = ds

    def orders(self, job) -> np.ndarray:
        self.marks = _map(self.ds, job.mark).materialize()
        return np.concatenate([np.asarray(table["order"]) for table in _tables(self.marks)])

    def write(self, job) -> list[int]:
        buckets = max(1, int(job.counts.sum()) // _shuffle.HASHES_AT_ONCE)

        def bucket(table):
            heads = np.array([hash[0] if hash else 0 for hash in table["hash"].to_pylist()], np.int64)
            return table.append_column("bucket", pa.array(heads * buckets // 256))

        def twins(table):
            return job.twins(table.select(_shuffle.MARKS.names))

        twins = _map(self.marks, bucket).groupby("bucket").map_groups(twins, batch_format="pyarrow")
        twins = _map(twins, job.place_twins).materialize()
        rows = _map(self.ds, job.place)
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


@contextlib.contextmanager
def _of_tables(ds):
    """Shuffles by tasks, whose results can be made again when a node dies; other ways keep theirs in
    actors."""
    from ray.data.context import ShuffleStrategy

    before = ds.context.shuffle_strategy
    ds.context.shuffle_strategy = ShuffleStrategy.SORT_SHUFFLE_PULL_BASED
    try:
        yield _Carried(ds)
    finally:
        ds.context.shuffle_strategy = before


def _local_files(ds, key, bytes, label) -> list[str] | None:
    """The local files that a Dataset reads whole, a row each; none if it is of anything else."""
    if (key or "path", bytes or "bytes", label) != ("path", "bytes", None):
        return None
    try:
        source = ds._logical_plan.dag.datasource
        files = source._filesystem
        files = files.unwrap() if hasattr(files, "unwrap") else files
        whole = type(source).__name__ == "BinaryDatasource" and source._include_paths
        # A scheme that pins reads to this node keeps other nodes from its files.
        local = type(files).__name__ == "LocalFileSystem" and source.supports_distributed_reads
        return list(ds.input_files()) or None if whole and local else None
    except AttributeError:
        # Another way of reading, or a release of Ray that keeps this elsewhere.
        return None


def _map(ds, function):
    def each(table):
        mapped = function(table)
        return mapped if isinstance(mapped, pa.Table) else pa.Table.from_batches([mapped])

    size = _shuffle.PICTURES_AT_ONCE
    return ds.map_batches(each, batch_format="pyarrow", batch_size=size, zero_copy_batch=True)


def _tables(ds):
    import ray

    return ray.get(ds.to_arrow_refs())
