"""How far a set is, told while engines make it."""

from __future__ import annotations

import contextlib
import threading
import time
import warnings

import numpy as np

from localmim._localmim import Error

# Least seconds between two looks at the output.
EVERY = 0.5
# How many times as long as a look takes there is none.
REST = 20


class Progress:
    """Calls `function(done, total)`, in pictures, whenever there are more. What it raises ends no
    set: it is warned of, and the function is not called again."""

    def __init__(self, function, orders):
        self.function, self.total, self.last = function, len(orders), None

    def pictures(self, done: int):
        """So many are done."""
        if self.function is None or done == self.last:
            return
        self.last = done
        try:
            self.function(done, self.total)
        except Exception as error:
            self.function = None
            told = f"progress raised {error!r} and is called no more; the set is made all the same"
            warnings.warn(told, RuntimeWarning, stacklevel=2)

    def shards(self, job, made):
        """These shards are made, and those that an earlier run did."""
        made = np.union1d(np.asarray(made, np.int64), job.done)
        self.pictures(int(job.counts[made[made < len(job.counts)]].sum()))

    @contextlib.contextmanager
    def watched(self, job, begun):
        """Looks from time to time at what is made, in a thread of its own."""
        over = threading.Event()

        def watch():
            pause = EVERY
            while not over.wait(pause):
                begin = time.monotonic()
                try:
                    made = begun.made()
                except Error:
                    # A store that does not answer now may do so later; tasks have their own errors.
                    made = None
                pause = max(EVERY, REST * (time.monotonic() - begin))
                if made is not None:
                    self.shards(job, made)

        if self.function is None:
            yield
            return
        watcher = threading.Thread(target=watch, name="localmim-progress", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
