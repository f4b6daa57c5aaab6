"""What Spark and Ray both do: which shard a picture belongs to, which are twins, and the shards."""

from __future__ import annotations

import functools
import json
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from localmim import _arguments
from localmim._columns import Columns
from localmim._localmim import Engine, Error, InputError

# Rows of a batch of pictures: few enough for large ones.
PICTURES_AT_ONCE = 256
# Rows of hashes among which one process looks for twins.
HASHES_AT_ONCE = 1 << 20
# Most tasks that a shuffle of pictures is cut into.
MOST_TASKS = 20_000
# Settings that name files.
FILES = ("classes", "codebook")
# Most places in the order that are looked at for keys that are there twice.
TWICE = 1000

# `at` is where a picture lies that no table carries; its label comes along.
MARKS = pa.schema(
    [
        ("key", pa.string()),
        ("order", pa.int64()),
        ("hash", pa.binary()),
        ("at", pa.string()),
        ("label", pa.string()),
    ]
)
PLACED = pa.schema(
    [
        ("shard", pa.int64()),
        ("key", pa.string()),
        ("bytes", pa.binary()),
        ("at", pa.string()),
        ("label", pa.string()),
        ("twin", pa.string()),
        ("seen", pa.bool_()),
    ]
)
TWINS = pa.schema([("key", pa.string()), ("order", pa.int64()), ("twin", pa.string())])
WRITTEN = pa.schema(
    [("shard", pa.int64()), ("accepted", pa.int64()), ("rejected", pa.int64()), ("bytes", pa.int64())]
)


@functools.lru_cache(maxsize=4)
def _engine(out: str, settings: str) -> Engine:
    return Engine(out, json.loads(settings))


@dataclass(frozen=True)
class Job:
    """What a process of the engine must know; it is sent along with each task."""

    out: str
    settings: str
    columns: Columns
    # The order at which each shard but the first begins.
    cuts: np.ndarray = field(default=None, repr=False)
    # Pictures of each shard.
    counts: np.ndarray = field(default=None, repr=False)
    # Where the part begins in the set: (shard, picture).
    part: tuple = (0, 0)
    # Shards that an earlier run has made.
    done: np.ndarray = field(default=None, repr=False)

    @staticmethod
    def of(out, settings, columns) -> "Job":
        """The job of an `ingest`, whose tasks take one thread unless the settings say otherwise."""
        settings = {"threads": 1, **settings}
        settings = {name: _plain(value) for name, value in settings.items() if value is not None}
        for name in set(FILES) & set(settings):
            files = settings[name]
            many = isinstance(files, list)
            paths = [_arguments.place(name, file) for file in (files if many else [files])]
            settings[name] = paths if many else paths[0]
        job = Job(_arguments.place("out", out), json.dumps(settings, sort_keys=True), columns)
        # What is wrong with settings or output is told before any picture is looked at.
        job.engine().look()
        return job

    def engine(self) -> Engine:
        return _engine(self.out, self.settings)

    # In the processes of the engine.

    def mark(self, table) -> pa.RecordBatch:
        """Pictures -> what the shuffle must know of them."""
        pictures = self.columns.pictures(table)
        marks = self.engine().mark(pictures)
        arrays = [pictures["key"], marks["order"], marks["hash"].cast(pa.binary())]
        if self.columns.bytes is None:
            arrays += [pictures["at"], pictures["label"]]
        else:
            arrays += [pa.nulls(len(pictures), pa.string())] * 2
        return pa.RecordBatch.from_arrays(arrays, schema=MARKS)

    def twins(self, table: pa.Table) -> pa.Table:
        """Marks, all of each hash -> (key, order, twin) of those that are not the first of theirs."""
        table = table.filter(pc.is_valid(table["hash"]))
        by = [("hash", "ascending"), ("order", "ascending"), ("key", "ascending")]
        table = table.sort_by(by).combine_chunks()
        if len(table) < 2:
            return TWINS.empty_table()
        hashes, keys = table["hash"], table["key"]
        same = pc.equal(hashes.slice(1), hashes.slice(0, len(table) - 1))
        same = np.concatenate([[False], np.asarray(same)])
        if not same.any():
            return TWINS.empty_table()
        first = np.maximum.accumulate(np.where(same, 0, np.arange(len(table))))
        at = np.flatnonzero(same)
        twins = [keys.take(at), table["order"].take(at), keys.take(first[at])]
        return pa.Table.from_arrays(twins, schema=TWINS)

    def place(self, table) -> pa.Table:
        """Pictures -> those of shards that are to be made, each with its shard."""
        pictures = self.columns.pictures(table)
        orders = self.engine().order(pictures)["order"]
        columns = {name: pictures[name] for name in pictures.schema.names}
        return self._placed(orders, columns)

    def place_marks(self, marks) -> pa.Table:
        """The same, of pictures that no table carries."""
        columns = {name: marks[name] for name in ("key", "at", "label")}
        # What has a hash was read, and so is there.
        columns["seen"] = pc.or_(pc.is_valid(marks["hash"]), self.columns.listed)
        return self._placed(marks["order"], columns)

    def place_twins(self, twins) -> pa.Table:
        """Twins -> what tells the shard of each of them, without its picture."""
        return self._placed(twins["order"], {name: twins[name] for name in ("key", "twin")})

    def _placed(self, orders, columns: dict) -> pa.Table:
        shards = np.searchsorted(self.cuts, np.asarray(orders), side="right")
        columns["shard"] = pa.array(shards, pa.int64())
        nulls = lambda of: pa.nulls(len(shards), of.type)
        arrays = [columns[of.name].cast(of.type) if of.name in columns else nulls(of) for of in PLACED]
        placed = pa.Table.from_arrays(arrays, schema=PLACED)
        if len(self.done):
            placed = placed.filter(pa.array(~np.isin(shards, self.done)))
        return placed

    def write(self, shard: int, batches: list) -> tuple:
        """Writes a shard: (shard, accepted, rejected, bytes)."""
        table = pa.Table.from_batches(batches) if isinstance(batches, list) else batches
        told = table.filter(pc.is_valid(table["twin"]))
        if len(told):
            table = table.filter(pc.is_null(table["twin"])).drop_columns(["twin"])
            twins = dict(zip(told["key"].to_pylist(), told["twin"].to_pylist()))
            names = [twins.get(key) for key in table["key"].to_pylist()]
            table = table.append_column("twin", pa.array(names, pa.string()))
        first = int(self.counts[:shard].sum())
        place = (shard, first, int(self.counts[shard]))
        made = self.engine().shard(place, self.part, table.to_batches())
        return (shard, *made)

    def write_all(self, batches):
        """Batches in the order of their shards -> what each shard came to."""
        shard, held = None, []
        for batch in batches:
            shards = batch["shard"].to_numpy()
            ends = [*(np.flatnonzero(np.diff(shards)) + 1), len(shards)]
            begin = 0
            for end in ends:
                if end == begin:
                    continue
                if shard is not None and shards[begin] != shard:
                    yield self.write(shard, held)
                    held = []
                shard = int(shards[begin])
                held.append(batch.slice(begin, end - begin))
                begin = end
        if held:
            yield self.write(shard, held)

    # Where the engine is driven from.

    def tasks(self) -> int:
        """Tasks into which the shuffle of pictures is cut."""
        return max(1, min(MOST_TASKS, len(self.counts) - len(self.done)))

    def begin(self, orders: np.ndarray, engine: str, keys):
        """Cuts the set into shards, and takes hold of the output. `keys` gives those of some orders."""
        if not len(orders):
            raise InputError("the table has no rows; give one with pictures")
        orders = np.sort(orders)
        # Other keys than the same seldom have the same order, so that all that do are few.
        twice = np.unique(orders[1:][orders[1:] == orders[:-1]])[:TWICE]
        for key, times in Counter(keys(twice) if len(twice) else []).items():
            if times > 1:
                raise InputError(f"{key} is there {times} times; every picture needs a key of its own")
        cuts = orders[self.engine().shard_pictures :: self.engine().shard_pictures]
        begins = np.concatenate([[0], np.searchsorted(orders, cuts, side="left"), [len(orders)]])
        counts = np.diff(begins)
        source = self.columns.root or engine
        orders = pa.record_batch([pa.array(orders)], ["order"])
        begun = self.engine().begin([source], orders, len(counts))
        state = begun.state()
        if state is None:
            return None, begun
        part, done = state
        done = np.array(done, np.int64)
        return replace(self, cuts=cuts, counts=counts, part=part, done=done), begun

    def check(self, written) -> None:
        """Whether every shard that was to be made was."""
        missing = set(range(len(self.counts))) - set(self.done.tolist()) - set(written)
        if missing:
            raise Error(f"{len(missing)} shards were not made; run the same again, which goes on")


def split(table: pa.Table, groups: np.ndarray, count: int) -> list[pa.Table]:
    """The rows of each of so many groups. A slice is sent with all that it is a part of: they are taken out."""
    order = np.argsort(groups, kind="stable")
    ends = np.searchsorted(groups[order], np.arange(count + 1))
    return [table.take(order[begin:end]) for begin, end in zip(ends, ends[1:])]


def _plain(value):
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value if isinstance(value, (bool, int, float)) else str(value)
