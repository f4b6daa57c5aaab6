"""Pictures to shards in Spark and Ray, and shards to batches, for masked-image pre-training.

`localmim.spark.ingest` and `localmim.ray.ingest` write the shard sets that the program `ingest`
writes; `localmim.Dataset` reads them, batch by batch, with finished targets.
"""

from localmim._localmim import (
    Error,
    InputError,
    SetError,
    StoreError,
    __version__,
)
from localmim._look import Preview, hog, preview
from localmim._rows import rows
from localmim._set import commit, verify
from localmim._dataset import Dataset

__all__ = [
    "Dataset",
    "Error",
    "InputError",
    "Preview",
    "SetError",
    "StoreError",
    "__version__",
    "commit",
    "hog",
    "preview",
    "rows",
    "verify",
]
