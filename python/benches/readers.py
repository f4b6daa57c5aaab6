"""Views a second of `localmim.Dataset` beside mosaicml-streaming and WebDataset that hold the same
arrays: view and HOG of four cell sizes as bytes, given as normalised floats.

    pip install torch mosaicml-streaming webdataset
    python benches/readers.py SHARDS [--rounds 3] [--batch 64]

All read by two workers of torch's DataLoader (ours by two threads of one process), and give the same
batch: `[B, 3, S, S]` floats, and floats for each cell.
"""

import argparse
import io
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

import localmim

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1) * 255
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1) * 255


def samples(shards):
    """The set's views and HOG as bytes."""
    dataset = localmim.Dataset(shards, 32, normalised=False, shuffle=False, even=False)
    for batch in dataset:
        for at in range(len(batch["id"])):
            sample = {"picture": batch["picture"][at]}
            for cell, values in batch["targets"].items():
                sample[f"hog{cell}"] = np.round(values[at] * 255).astype(np.uint8)
            yield sample


def finished(sample):
    """Bytes as they are stored -> what the network takes."""
    picture = torch.from_numpy(sample["picture"]).permute(2, 0, 1).float()
    made = {"picture": (picture - MEAN) / STD}
    for name, values in sample.items():
        if name.startswith("hog"):
            made[name] = torch.from_numpy(values).float() / 255
    return made


def write_streaming(shards, folder):
    from streaming import MDSWriter

    first = next(samples(shards))
    columns = {name: f"ndarray:uint8:{','.join(map(str, value.shape))}" for name, value in first.items()}
    with MDSWriter(out=str(folder), columns=columns, compression="zstd:1", size_limit=64 << 20) as out:
        for sample in samples(shards):
            out.write(sample)


class Streamed:
    """Made here, so that workers import it."""

    @staticmethod
    def open(folder, batch):
        from streaming import StreamingDataset

        class Set(StreamingDataset):
            def __getitem__(self, index):
                return finished({k: np.array(v) for k, v in super().__getitem__(index).items()})

        data = Set(local=str(folder), shuffle=True, batch_size=batch, keep_zip=True)
        return DataLoader(data, batch_size=batch, num_workers=2, drop_last=True)


def write_webdataset(shards, folder):
    import webdataset as wds

    folder.mkdir()
    with wds.ShardWriter(f"{folder}/%04d.tar", maxsize=64 << 20, verbose=0) as out:
        for number, sample in enumerate(samples(shards)):
            made = {"__key__": f"{number:08}"}
            for name, value in sample.items():
                file = io.BytesIO()
                np.save(file, value)
                made[f"{name}.npy"] = file.getvalue()
            out.write(made)


def webdataset(folder, batch):
    import webdataset as wds

    def made(sample):
        arrays = {
            name.removesuffix(".npy"): np.load(io.BytesIO(value))
            for name, value in sample.items()
            if name.endswith(".npy")
        }
        return finished(arrays)

    files = sorted(str(path) for path in folder.glob("*.tar"))
    data = wds.WebDataset(files, shardshuffle=len(files)).shuffle(256).map(made)
    return DataLoader(data, batch_size=batch, num_workers=2, drop_last=True)


def rate(batches):
    """Views a second after the first batch, and views a second of the processors' time in all."""
    used = sum(os.times()[:4])
    batches = iter(batches)
    views = len(next(batches)["picture"])
    begin, first = time.perf_counter(), views
    for batch in batches:
        views += len(batch["picture"])
    taken = time.perf_counter() - begin
    # Workers that have ended count among the children.
    del batches, batch
    return (views - first) / taken, views / (sum(os.times()[:4]) - used)


def main():
    flags = argparse.ArgumentParser()
    flags.add_argument("shards", type=Path)
    flags.add_argument("--rounds", type=int, default=3)
    flags.add_argument("--batch", type=int, default=64)
    given = flags.parse_args()
    work = Path(tempfile.mkdtemp())
    write_streaming(given.shards, work / "streaming")
    write_webdataset(given.shards, work / "webdataset")
    readers = {
        "localmim": lambda: localmim.Dataset(given.shards, given.batch, threads=2, torch=True),
        "streaming": lambda: Streamed.open(work / "streaming", given.batch),
        "webdataset": lambda: webdataset(work / "webdataset", given.batch),
    }
    rates = {name: [] for name in readers}
    for _ in range(given.rounds):
        for name, reader in readers.items():
            rates[name].append(rate(reader()))
    for name, of in rates.items():
        wall, cpu = (statistics.median(column) for column in zip(*of))
        print(f"{name:10} {wall:7.0f} views/s {cpu:7.0f} views per CPU second")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
