"""How far a set is, told while engines make it."""

from __future__ import annotations

import contextlib
import threading

import numpy as np

# Seconds between two looks.
EVERY = 0.5


@contextlib.contextmanager
def told(progress, begun, counts, done):
    """Calls `progress(done, total)`, in pictures, whenever there are more shards, from a thread of its
    own; at the end once more. An error that it raises is raised at the end."""
    if progress is None:
        yield
        return
    total = int(counts.sum())
    over, failed = threading.Event(), []

    def look(last):
        made = np.union1d(np.asarray(begun.made(), np.int64), done)
        pictures = int(counts[made[made < len(counts)]].sum())
        if pictures != last:
            progress(pictures, total)
        return pictures

    def watch():
        last = None
        try:
            while not over.wait(EVERY):
                last = look(last)
        except BaseException as error:
            failed.append(error)

    watcher = threading.Thread(target=watch, name="localmim-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    if failed:
        raise failed[0]
    progress(total, total)
