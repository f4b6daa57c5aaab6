"""A shard set from a Ray Dataset."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from localmim import _arguments, _errors, _progress, _shuffle
from localmim._columns import Columns
from localmim._localmim import InputError

# Parts for each core, of pictures that are known by their addresses.
PARTS_A_CORE = 2
# Least pictures of such a part.
LEAST = 256
# Pieces into which all parts are cut, which those who make shards collect.
PIECES = 1 << 20
# How often a task is run again whose node has died.
RETRIES = 10


def ingest(
    ds, out, *, key=None, bytes=None, label=None, root=None, progress=None, **settings
) -> dict:
    """Writes the pictures of a Dataset as a shard set at `out`: the one that `ingest` writes.

    `ds` is what Ray reads of pictures: `read_binary_files(..., include_paths=True)`, `read_parquet`,
    `read_webdataset(..., decoder=None)`. What it carries is read once, and lies in Ray's object store
    or where that spills to until its shard is made. All else is as in `localmim.spark.ingest`.
    """
    if not hasattr(ds, "map_batches"):
        raise InputError(f"ds must be a Dataset of Ray, not {type(ds).__name__}")
    _arguments.callable_or_none("progress", progress)
    files = _local_files(ds, key, bytes, label)
    if files is not None:
        columns = replace(Columns.of(["path"], root=root), listed=True)
    else:
        columns = Columns.of(ds.schema().names, key, bytes, label, root)
    job = _shuffle.Job.of(out, settings, columns)
    begun = None
    with _errors.of_workers():
        try:
            shuffle = _Shuffle(_parts(ds, columns) if files is None else _of_files(files))
            orders = shuffle.mark(job)
            told = _progress.Progress(progress, orders)
            job, begun = job.begin(orders, "ray", shuffle.keys)
            if job is not None:
                job.check(shuffle.write(job, told))
            summary = begun.commit()
            told.pictures(len(orders))
            return summary
        finally:
            if begun is not None:
                begun.release()


class _Shuffle:
    """Parts of the pictures, or of their addresses, on their way to the tasks that make shards. All
    that is larger than a number a picture stays in the cluster; what dies with a node is made again,
    since it comes from tasks."""

    def __init__(self, parts: list):
        self.parts = parts

    def mark(self, job) -> np.ndarray:
        """The orders of all pictures."""
        import ray

        mark, job_there = _task(_mark, 2), ray.put(job)
        orders, self.marks = zip(*[mark.remote(job_there, part) for part in self.parts])
        if job.columns.bytes is None:
            # They have all that there is of these pictures.
            self.parts = self.marks
        return np.concatenate(ray.get(list(orders)))

    def keys(self, orders: np.ndarray) -> list[str]:
        """Those of these orders."""
        import ray

        find = _task(_keys)
        found = ray.get([find.remote(marks, orders) for marks in self.marks])
        return [key for keys in found for key in keys]

    def write(self, job, told) -> list[int]:
        """Makes the shards; gives their numbers."""
        import ray

        tasks = min(job.tasks(), max(PARTS_A_CORE * _cores(), PIECES // len(self.parts)))
        groups, job_there = ray.put(_groups(job, tasks)), ray.put(job)
        buckets = max(1, int(job.counts.sum()) // _shuffle.HASHES_AT_ONCE)
        cut, twins, place = _task(_cut, buckets), _task(_twins, tasks), _task(_place, tasks)
        # A task of one result gives it by itself.
        many = lambda refs, count: refs if count > 1 else [refs]
        hashes = [many(cut.remote(marks, buckets), buckets) for marks in self.marks]
        pieces = [
            many(twins.remote(job_there, groups, tasks, *of), tasks) for of in zip(*hashes)
        ]
        pieces += [
            many(place.remote(job_there, groups, tasks, part), tasks) for part in self.parts
        ]
        write = _task(_write)
        making = [write.remote(job_there, *of) for of in zip(*pieces)]
        # Whatever nobody needs any more makes room.
        self.parts = self.marks = hashes = pieces = None
        return _made(job, making, told)


def _made(job, making: list, told) -> list[int]:
    """The numbers of shards, told as they are made."""
    import ray

    made = []
    try:
        while making:
            ready, making = ray.wait(making, num_returns=1 + len(making) // 100)
            made += [shard for written in ray.get(ready) for shard, *_ in written]
            told.shards(job, made)
    except BaseException:
        # Nobody commits what others make.
        for task in making:
            ray.cancel(task)
        raise
    return made


def _task(function, results=1):
    import ray

    return ray.remote(num_cpus=1, max_retries=RETRIES, num_returns=results)(function)


def _cores() -> int:
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _groups(job, tasks: int) -> np.ndarray:
    """By which task each shard is made, of those that are still to be."""
    groups = np.full(len(job.counts), -1)
    left = np.setdiff1d(np.arange(len(groups)), job.done)
    groups[left] = np.arange(len(left)) * tasks // max(1, len(left))
    return groups


# In the processes of Ray.


def _mark(job, part: pa.Table):
    marks = pa.Table.from_batches([job.mark(batch) for batch in _batches(part)], _shuffle.MARKS)
    return marks["order"].to_numpy(), marks


def _keys(marks: pa.Table, orders: np.ndarray) -> list[str]:
    return marks.filter(pc.is_in(marks["order"], pa.array(orders)))["key"].to_pylist()


def _cut(marks: pa.Table, buckets: int):
    """Marks by their hashes."""
    marks = marks.filter(pc.is_valid(marks["hash"])).select(["key", "order", "hash"])
    # The first four bytes of 32.
    heads = np.frombuffer(b"".join(marks["hash"].to_pylist()), ">u4")[::8].astype(np.uint64)
    return _split(marks, heads * np.uint64(buckets) >> np.uint64(32), buckets)


def _twins(job, groups: np.ndarray, tasks: int, *marks: pa.Table):
    placed = job.place_twins(job.twins(pa.concat_tables(marks)))
    return _split(placed, groups[placed["shard"].to_numpy()], tasks)


def _place(job, groups: np.ndarray, tasks: int, part: pa.Table):
    place = job.place if job.columns.bytes is not None else job.place_marks
    placed = [place(batch) for batch in _batches(part)] or [_shuffle.PLACED.empty_table()]
    placed = pa.concat_tables(placed)
    return _split(placed, groups[placed["shard"].to_numpy()], tasks)


def _split(table: pa.Table, groups: np.ndarray, count: int):
    """The rows of each group; a task of one result gives it by itself."""
    pieces = _shuffle.split(table, groups, count)
    return pieces if count > 1 else pieces[0]


def _write(job, *pieces: pa.Table) -> list[tuple]:
    table = pa.concat_tables(pieces)
    shards = table["shard"].to_numpy()
    of = lambda shard: table.filter(pa.array(shards == shard))
    return [job.write(int(shard), of(shard)) for shard in np.unique(shards)]


def _batches(table: pa.Table) -> list[pa.Table]:
    """Few pictures at once: they may be large."""
    many = _shuffle.PICTURES_AT_ONCE
    return [table.slice(at, many) for at in range(0, len(table), many)]


# Where Ray is driven from.


def _of_files(files: list[str]) -> list:
    """Files, in parts that lie in the cluster."""
    import ray

    many = max(LEAST, -(-len(files) // (PARTS_A_CORE * _cores())))
    parts = (files[at : at + many] for at in range(0, len(files), many))
    return [ray.put(pa.table({"path": pa.array(part, pa.string())})) for part in parts]


def _parts(ds, columns) -> list:
    """What a Dataset has, in parts that lie in the cluster."""
    ds = ds.select_columns(columns.names)
    if columns.bytes is None:
        # Of addresses many lie in one block.
        ds = ds.materialize()
        wanted = min(PARTS_A_CORE * _cores(), -(-ds.count() // LEAST))
        ds = ds.repartition(wanted) if ds.num_blocks() < wanted else ds
    return ds.to_arrow_refs()


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
