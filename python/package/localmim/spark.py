"""A shard set from a Spark DataFrame."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pyarrow as pa

from localmim import _arguments, _errors, _progress, _shuffle
from localmim._columns import Columns
from localmim._localmim import InputError

# Spark counts so many bytes for opening a file, thirty times what a small picture has, and so makes a
# task of each thirty; here it is what a picture costs beside its bytes.
OPENING = ("spark.sql.files.openCostInBytes", 4 << 20, 64 << 10)
# Most pictures, known by their addresses, that the driver itself sends to those who make their
# shards: to plan a shuffle takes Spark seconds, whatever is in it.
FEW = 1 << 20


def ingest(
    df, out, *, key=None, bytes=None, label=None, root=None, progress=None, **settings
) -> dict:
    """Writes the pictures of a DataFrame as a shard set at `out`: the one that `ingest` writes.

    `df` is what Spark reads of pictures: `spark.read.format("binaryFile")`, Parquet with a column of
    pictures, WebDataset's columns. `key`, `bytes` and `label` name its columns, where they are not
    found by name; without `label` the class is the folder in the key. Names are told below `root`.
    A DataFrame without a column of pictures is one of their addresses: workers read them, from
    folders that every node sees or from s3://, gs:// or az://. So they do with local files of binaryFile.
    `out` is a folder that every node sees, or an s3://, gs:// or az:// address. The settings are
    the options of `ingest`, with `_` for `-`. `progress(done, total)` is called with numbers of
    pictures while shards are made, from a thread of its own, and at the end; what it raises is a
    warning.

    The pictures are read twice: once for hashes, once for rows. The same call goes on where one
    that was killed has stopped. Gives the summary of the set.
    """
    from pyspark import StorageLevel

    if not hasattr(df, "mapInArrow"):
        raise InputError(f"df must be a DataFrame of Spark, not {type(df).__name__}")
    _arguments.callable_or_none("progress", progress)
    columns = Columns.of(df.columns, key, bytes, label, root)
    if _are_local_files(df, columns):
        columns = replace(columns, bytes=None, listed=True)
    job = _shuffle.Job.of(out, settings, columns)
    df = df.select(*columns.names)
    with _errors.of_workers(), _for_pictures(df.sparkSession):
        marks = _map(df, job.mark, _schema(_shuffle.MARKS))
        marks = marks.persist(StorageLevel.MEMORY_AND_DISK)
        begun = None
        try:
            orders = marks.select("order").toArrow()["order"].to_numpy()
            told = _progress.Progress(progress, orders)

            def keys(orders):
                keys = marks.where(marks["order"].isin(orders.tolist())).select("key")
                return [row["key"] for row in keys.collect()]

            job, begun = job.begin(orders, "spark", keys)
            if job is not None:
                context = _context(df) if columns.bytes is None and len(orders) <= FEW else None
                with told.watched(job, begun):
                    if context is None:
                        job.check(_write(df, marks, job, len(orders)))
                    else:
                        job.check(_write_few(context, marks.toArrow(), job))
            summary = begun.commit()
            told.pictures(len(orders))
            return summary
        finally:
            marks.unpersist()
            if begun is not None:
                begun.release()


def _write(df, marks, job, pictures) -> list[int]:
    placed = _schema(_shuffle.PLACED)
    buckets = max(1, pictures // _shuffle.HASHES_AT_ONCE)
    twins = marks.where("hash is not null").repartition(buckets, "hash")
    twins = twins.mapInArrow(_whole(lambda of: job.place_twins(job.twins(of))), placed)
    carried = job.columns.bytes is not None
    rows = _map(df, job.place, placed) if carried else _map(marks, job.place_marks, placed)
    rows = rows.unionByName(twins)
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

    written = rows.mapInArrow(write, _schema(_shuffle.WRITTEN))
    return [row["shard"] for row in written.collect()]


def _write_few(context, marks: pa.Table, job) -> list[int]:
    """As `_write`, of pictures whose marks are here."""
    placed = pa.concat_tables([job.place_marks(marks), job.place_twins(job.twins(marks))])
    of_shards = _shuffle.split(placed, placed["shard"].to_numpy(), len(job.counts))

    def stream(of):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, _shuffle.PLACED) as stream:
            stream.write_table(of)
        return sink.getvalue().to_pybytes()

    pieces = [(shard, stream(of)) for shard, of in enumerate(of_shards) if len(of)]

    def write(pieces):
        return [job.write(shard, pa.ipc.open_stream(of).read_all())[0] for shard, of in pieces]

    return context.parallelize(pieces, job.tasks()).mapPartitions(write).collect()


def _context(df):
    """Where tasks are started without a plan; Spark Connect has no such place."""
    try:
        return df.sparkSession.sparkContext
    except Exception:
        return None


def _are_local_files(df, columns) -> bool:
    """Whether rows are local files as binaryFile reads them, each by its path."""
    if (columns.key, columns.bytes) != ("path", "content"):
        return False
    try:
        plan = df._jdf.queryExecution().analyzed()
        ids = _ids(plan)
        while plan.nodeName() in ("Project", "Filter"):
            plan = plan.child()
        if plan.getClass().getSimpleName() != "LogicalRelation":
            return False
        relation = plan.relation()
        if relation.fileFormat().getClass().getSimpleName() != "BinaryFileFormat":
            return False
        roots = relation.location().rootPaths()
        local = all(roots.apply(at).toUri().getScheme() == "file" for at in range(roots.size()))
        of_files = _ids(plan)
        return local and all(ids[name] == of_files[name] for name in ("path", "content"))
    except Exception:
        # A session that shows no plans (Spark Connect), or a plan of another kind.
        return False


def _ids(plan) -> dict:
    """What tells the columns of a plan from others of the same names."""
    output = plan.output()
    columns = [output.apply(at) for at in range(output.size())]
    return {column.name(): column.exprId().id() for column in columns}


def _schema(schema: pa.Schema) -> str:
    kinds = {pa.string(): "string", pa.int64(): "bigint", pa.binary(): "binary", pa.bool_(): "boolean"}
    return ", ".join(f"`{field.name}` {kinds[field.type]}" for field in schema)


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
def _for_pictures(spark):
    """Pictures are larger than the rows, and smaller than the files, that Spark's defaults are meant
    for."""
    rows = "spark.sql.execution.arrow.maxRecordsPerBatch"
    opening, default, ours = OPENING
    before = {name: spark.conf.get(name) for name in (rows, opening)}
    spark.conf.set(rows, str(_shuffle.PICTURES_AT_ONCE))
    if before[opening].rstrip("bB") == str(default):
        spark.conf.set(opening, str(ours))
    try:
        yield
    finally:
        for name, value in before.items():
            spark.conf.set(name, value)
