"""What is done with the shards of a set."""

from __future__ import annotations

from typing import Any

from localmim import _arguments, _localmim


def commit(out, **settings: Any) -> dict[str, Any]:
    """Makes a set of the shards that an engine made at `out`, if its driver died before it could.
    Settings need not be given again, but must be those that the shards were made with."""
    return _localmim.commit(_arguments.text("out", out), **settings)


def verify(shards) -> list[str]:
    """Holds every byte of a set against its checksum: a sentence for each damaged file."""
    return _localmim.verify(_arguments.text("shards", shards))
