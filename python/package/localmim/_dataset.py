"""Batches of views with finished targets."""

from __future__ import annotations

import os
import warnings

import numpy as np

from localmim import _arguments
from localmim._localmim import InputError, Reader

try:
    from torch.utils.data import IterableDataset, get_worker_info
except ImportError:
    IterableDataset, get_worker_info = object, lambda: None


class Dataset(IterableDataset):
    """The views of a shard set, in batches. An iteration is an epoch; the next is in another order.

    A batch is a dictionary of arrays:

    - `picture`: `[batch, 3, size, size]`, floats normalised by ImageNet's statistics; with
      `normalised=False` `[batch, size, size, 3]`, bytes;
    - `targets`: a dictionary by cell size of `[batch, grid**2, values]`, floats: with `target="hog"`
      the 3 * bins values of a cell, ordered (channel, bin), with `"pixel"` the normalised pixels of
      a patch, ordered (row, column, channel);
    - `label`: `[batch]`, the class by its index in the manifest, -1 for none; `id`: `[batch]`, the
      rows' numbers; `mirrored`: `[batch]`.

    They are of numpy, or with `torch=True` tensors (of the same memory). The order follows from
    `seed` and epoch. `rank` of `world` reads its part (read from `RANK` and `WORLD_SIZE` if they are
    not given), and so does each worker of a `DataLoader(dataset, batch_size=None, num_workers=N)`.
    Parts have as many rows as each other, but for one: each row of the set comes once an epoch. With
    `even=True` each part has as many batches as the others, all whole: what is left over, less than
    a batch and a row of each part, is left out, with `shuffle=True` other rows in each epoch. With
    `even=False` all come, and a part's last batch may be smaller.

    Workers of a DataLoader without `persistent_workers=True` begin anew each time that it is iterated,
    so call `set_epoch` before each of its epochs, as for torch's DistributedSampler.

    `state_dict` tells where this iteration is, and `load_state_dict` goes on there, in a process
    that reads the same part; torchdata's StatefulDataLoader does so for its workers. Within an epoch
    a state is of so many parts (ranks times workers), and no other number goes on from it; between
    epochs any does.

    While it is iterated a Dataset holds five batches at most besides those that are kept elsewhere,
    and the stored rows of 16 row groups; between epochs it holds none of them.
    """

    def __init__(
        self,
        shards,
        batch_size: int = 256,
        *,
        target: str = "hog",
        cells=None,
        normalised: bool = True,
        shuffle: bool = True,
        flip: bool = False,
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
        even: bool = True,
        threads: int = 0,
        torch: bool = False,
    ):
        self.shards = _arguments.text("shards", shards)
        self.batch_size = _arguments.whole("batch_size", batch_size, 1)
        self.torch = _arguments.truth("torch", torch)
        self.world = _of_launcher("world", world, "WORLD_SIZE", 1, least=1)
        self.rank = _of_launcher("rank", rank, "RANK", 0, least=0)
        if self.rank >= self.world:
            raise InputError(
                f"rank is {self.rank}, and of world {self.world} there are ranks 0 to {self.world - 1} "
                "(RANK and WORLD_SIZE, where they are not given)"
            )
        truth, whole = _arguments.truth, _arguments.whole
        self._given = dict(
            target=str(target),
            cells=None if cells is None else _arguments.wholes("cells", cells, 1, 2**31 - 1),
            normalised=truth("normalised", normalised),
            batch=self.batch_size,
            shuffle=truth("shuffle", shuffle),
            flip=truth("flip", flip),
            seed=whole("seed", seed, 0, 2**64 - 1),
            even=truth("even", even),
            threads=whole("threads", threads, 0, 1024),
        )
        self.epoch = 0
        self._done = 0
        # How many parts there are of which `_done` batches are done.
        self._parts = self.world
        self._reader = self._part = self._forked = None
        described = self._open(0, 1).describe()
        self.rows, self.size, self.bins = described["rows"], described["size"], described["bins"]
        self.cells, self.classes = described["cells"], described["classes"]
        self._fingerprint = described["fingerprint"]

    def _open(self, worker: int, workers: int) -> Reader:
        # A forked worker has none of the threads of its parent's reader.
        part = (self.rank * workers + worker, self.world * workers, os.getpid())
        if self._reader is None or self._part != part:
            if self._part is not None and self._part[2] != part[2]:
                # To drop it here would wait for threads that are not here.
                self._forked = self._reader
            self._reader = Reader(self.shards, part=part[0], parts=part[1], **self._given)
            self._part = part
        return self._reader

    def _here(self) -> Reader:
        info = get_worker_info()
        return self._open(0, 1) if info is None else self._open(info.id, info.num_workers)

    def __len__(self) -> int:
        """Batches of an epoch that is read by this process alone."""
        return self._open(0, 1).batches()

    def __iter__(self):
        reader = self._here()
        if self.rows and self._given["even"] and reader.batches() == 0:
            parts = self._part[1]
            raise InputError(
                f"{self.shards}: its {self.rows} rows make no whole batch of {self.batch_size} for each of "
                f"{parts} part{'s' * (parts > 1)}; give a smaller batch_size, fewer ranks or workers, or "
                "even=False"
            )
        parts = self._part[1]
        if self._done and self._parts != parts:
            raise InputError(
                f"{self._done} batches of this epoch are done in {self._parts} part{'s' * (self._parts > 1)} "
                f"(ranks times workers), and it can't go on in {parts}: go on with as many, or "
                "begin another epoch with set_epoch()"
            )
        self._parts = parts
        batches = reader.start(self.epoch, self._done)
        while (batch := batches.next()) is not None:
            self._done += 1
            yield self._arrays(batch)
        self.epoch, self._done = self.epoch + 1, 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch that is read next, from its start; one that is under way goes on where it is.

        The workers of a DataLoader know of it if they begin later; persistent ones count by themselves.
        """
        epoch = _arguments.whole("epoch", epoch, 0, 2**63 - 1)
        if epoch != self.epoch:
            self.epoch, self._done = epoch, 0

    def _arrays(self, batch) -> dict:
        def floats(name):
            return batch[name].values.to_numpy(zero_copy_only=True)

        rows, size = len(batch), self.size
        if self._given["normalised"]:
            picture = floats("picture").reshape(rows, 3, size, size)
        else:
            picture = np.frombuffer(batch["picture"].buffers()[1], np.uint8)
            picture = picture.reshape(rows, size, size, 3)
        targets = {}
        if self._given["target"] != "none":
            for cell in self.cells:
                targets[cell] = floats(str(cell)).reshape(rows, (size // cell) ** 2, -1)
        arrays = {
            "picture": picture,
            "targets": targets,
            "label": batch["label"].to_numpy(),
            "id": batch["id"].to_numpy(),
            "mirrored": batch["mirrored"].to_numpy(zero_copy_only=False),
        }
        return _tensors(arrays) if self.torch else arrays

    def _count(self) -> int:
        info = get_worker_info()
        return self.world * (1 if info is None else info.num_workers)

    def state_dict(self) -> dict:
        """Where the iteration is: behind so many batches of an epoch."""
        return {
            "epoch": self.epoch,
            "batches": self._done,
            "parts": self._parts if self._done else self._count(),
            "batch_size": self.batch_size,
            "seed": self._given["seed"],
            "shuffle": self._given["shuffle"],
            "fingerprint": self._fingerprint,
        }

    def load_state_dict(self, state: dict) -> None:
        """Goes on where a state was taken."""
        now = self.state_dict()
        if not isinstance(state, dict) or (missing := now.keys() - state.keys()):
            what = "a dictionary" if not isinstance(state, dict) else ", ".join(sorted(missing))
            raise InputError(f"the state lacks {what}; give what state_dict() returned")
        for name in ("batch_size", "seed", "shuffle", "fingerprint"):
            if state[name] != now[name]:
                raise InputError(f"the state is of {name} {state[name]}, and this is {now[name]}")
        epoch = _arguments.whole("the state's epoch", state["epoch"], 0, 2**63 - 1)
        done = _arguments.whole("the state's batches", state["batches"], 0, 2**63 - 1)
        parts = _arguments.whole("the state's parts", state["parts"], 1)
        if done and parts != (count := self._count()):
            raise InputError(
                f"the state is of {done} batches in each of {parts} part{'s' * (parts > 1)} (ranks times "
                f"workers), and here are {count}: go on with as many, or from a state between epochs"
            )
        self.epoch, self._done, self._parts = epoch, done, parts

    def __getstate__(self) -> dict:
        # A process of its own opens the set itself.
        return {**self.__dict__, "_reader": None, "_part": None, "_forked": None}


def _of_launcher(name: str, value, variable: str, default: int, *, least: int) -> int:
    """What is given, or else what the launcher's variable says."""
    if value is not None:
        return _arguments.whole(name, value, least)
    text = os.environ.get(variable, "").strip() or str(default)
    if not text.lstrip("-").isdecimal():
        raise InputError(f"{variable}={text}: expected a whole number; {name}= is taken instead of it")
    return _arguments.whole(variable, int(text), least)


def _tensors(value):
    import torch

    if isinstance(value, dict):
        return {name: _tensors(each) for name, each in value.items()}
    if value.dtype == np.uint64:
        value = value.astype(np.int64)
    with warnings.catch_warnings():
        # Arrow's memory is nobody else's, but numpy calls it read-only.
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(value)
