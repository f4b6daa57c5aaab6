"""What a notebook shows."""

from __future__ import annotations

import numpy as np

from localmim import _arguments, _localmim
from localmim._localmim import InputError


class Preview:
    """A picture for notebooks."""

    def __init__(self, png: bytes):
        self.png = png

    def _repr_png_(self) -> bytes:
        return self.png

    def save(self, path) -> None:
        """Writes it as a PNG file."""
        with open(path, "wb") as file:
            file.write(self.png)


# Rows of a preview: more than anybody looks at, in a picture that is still drawn at once.
MOST_ROWS = 64


def preview(shards, count: int = 4, seed: int = 0) -> Preview:
    """Some rows of a set, up to 64 drawn by `seed`: each view beside its HOG at every cell size."""
    shards = _arguments.text("shards", shards)
    count = _arguments.whole("count", count, 1, MOST_ROWS)
    seed = _arguments.whole("seed", seed, 0, 2**64 - 1)
    return Preview(_localmim.preview(shards, count, seed))


def hog(picture, cells=(4, 8, 16, 32), bins: int = 9) -> list[np.ndarray]:
    """The HOG targets of a square RGB picture of bytes `[side, side, 3]`: a float array
    `[side / cell, side / cell, 3, bins]` for each cell size."""
    picture = np.ascontiguousarray(picture)
    if picture.ndim != 3 or picture.shape[0] != picture.shape[1] or picture.shape[2] != 3:
        raise InputError(f"a picture is [side, side, 3], not {list(picture.shape)}")
    if picture.dtype != np.uint8:
        raise InputError(f"a picture is of bytes (uint8), not {picture.dtype}")
    side = picture.shape[0]
    cells = _arguments.wholes("cells", cells, 1, 2**31 - 1)
    bins = _arguments.whole("bins", bins, 1, 2**31 - 1)
    hogs = _localmim.hog(picture.tobytes(), side, cells, bins)
    grids = [side // cell for cell in cells]
    return [np.asarray(hog).reshape(grid, grid, 3, bins) for hog, grid in zip(hogs, grids)]
