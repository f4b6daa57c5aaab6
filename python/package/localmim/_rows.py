"""One record batch at a time, for engines that have no function of their own here."""

from __future__ import annotations

import json

import pyarrow as pa

from localmim._columns import Columns
from localmim._shuffle import _engine, _plain


def rows(batch, *, first=0, key=None, bytes=None, label=None, root=None, **settings):
    """Pictures -> (the rows of a shard, the rejects), as two record batches.

    `batch` is a record batch or a table, or anything with Arrow's `__arrow_c_stream__` or
    `__arrow_c_array__`. The rows are those that `ingest` writes of the same pictures, of which the
    first has the number `first`; duplicates are not told.
    """
    if not isinstance(batch, (pa.RecordBatch, pa.Table)):
        batch = pa.table(batch) if hasattr(batch, "__arrow_c_stream__") else pa.record_batch(batch)
    columns = Columns.of(batch.schema.names, key, bytes, label, root)
    settings = {name: _plain(value) for name, value in settings.items() if value is not None}
    return _engine("unused", json.dumps(settings, sort_keys=True)).rows(columns.pictures(batch), first)
