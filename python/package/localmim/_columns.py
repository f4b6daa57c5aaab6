"""Tables as Spark, Ray, Hugging Face and WebDataset have them -> (key, bytes or at, label)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from localmim._localmim import InputError

# Where names and pictures stand, in the order in which they are looked for.
KEYS = ("key", "path", "__key__", "source", "url", "filename")
PICTURES = ("bytes", "content", "image", "jpg", "jpeg", "png", "webp", "gif", "tif", "tiff")


@dataclass(frozen=True)
class Columns:
    """Which columns hold what, and how names begin. Without `bytes`, keys are addresses, from which
    the pictures are read."""

    key: str | None
    bytes: str | None
    label: str | None
    root: str | None
    # Where relative addresses begin: processes of an engine run in folders of their own.
    base: str | None = None
    # Whether the engine listed the addresses, so that it has seen a file at each.
    listed: bool = False

    @staticmethod
    def of(names, key=None, bytes=None, label=None, root=None) -> "Columns":
        """Those that were named, or are found among `names`."""

        def find(what, named, known, needed=True):
            if named is not None:
                if named not in names:
                    raise InputError(f"there is no column `{named}`; there are {', '.join(names)}")
                return named
            for name in known:
                if name in names:
                    return name
            if needed:
                told = ", ".join(names)
                raise InputError(f"no column with {what} among {told}; name it by `{what}=`")
            return None

        picture = find("bytes", bytes, PICTURES, needed=False)
        if picture is None and not any(name in names for name in (key, *KEYS)):
            find("bytes", None, ())
        # The path within an image of Hugging Face is a key, too.
        name = find("key", key, KEYS, needed=picture != "image")
        return Columns(name, picture, label, None if root is None else plain(root), os.getcwd())

    @property
    def names(self) -> list[str]:
        """The columns that are read."""
        return [name for name in (self.key, self.bytes, self.label) if name is not None]

    def pictures(self, table) -> pa.RecordBatch:
        """A table or a batch as (key, bytes or at, label), and that files were seen where they were."""
        keys = None if self.key is None else text(table.column(self.key))
        if self.bytes is None:
            keys = plain_text(keys if self.listed else decoded(keys))
            picture, held = absolute(keys, self.base), "at"
        else:
            keys = None if keys is None else plain_text(keys)
            picture, held = whole(table.column(self.bytes)), "bytes"
        if pa.types.is_struct(picture.type):
            if keys is None:
                keys = plain_text(text(picture.field("path")))
            picture = picture.field("bytes")
        if picture.null_count and held == "bytes":
            picture = pc.fill_null(picture, b"")
        keys = self.named(keys)
        if self.label is not None:
            label = whole(table.column(self.label))
            if not (pa.types.is_string(label.type) or pa.types.is_large_string(label.type)):
                label = label.cast(pa.string())
        else:
            label = folders(keys)
        arrays, names = [keys, picture, label], ["key", held, "label"]
        if self.listed:
            arrays, names = [*arrays, pa.array([True] * len(keys))], [*names, "seen"]
        return pa.RecordBatch.from_arrays(arrays, names)

    def named(self, keys: pa.Array) -> pa.Array:
        """The text of the `source` column: below `root`, if there is one."""
        if self.root is None:
            return keys
        # It may be written as addresses are, with `%20` for a space.
        for root in (self.root, unquote(self.root)):
            below = pc.starts_with(keys, root + "/")
            if pc.all(below).as_py():
                return pc.utf8_slice_codeunits(keys, len(root) + 1)
        below = pc.starts_with(keys, self.root + "/")
        other = keys.filter(pc.invert(below))[0]
        raise InputError(f"{other} does not lie below root={self.root}")


def plain(address: str) -> str:
    """An address as names have it."""
    return re.sub(r"^file:/+", "/", str(address)).rstrip("/")


def text(keys) -> pa.Array:
    """Keys as text, in one piece."""
    keys = whole(keys)
    return keys if pa.types.is_string(keys.type) else keys.cast(pa.string())


def plain_text(keys: pa.Array) -> pa.Array:
    """Keys with files by their paths."""
    return pc.replace_substring_regex(keys, r"^file:/+", "/")


def decoded(keys: pa.Array) -> pa.Array:
    """Addresses of files without `%20` for a space. Spark writes the same file in either way, by
    where the address comes from; a name may also have a `%` of its own, so that files decide."""
    encoded = pc.match_substring_regex(keys, r"^file:/.*%[0-9A-Fa-f]{2}")
    if not pc.any(encoded).as_py():
        return keys

    def path(address: str) -> str:
        literal = plain(address)
        return literal if os.path.exists(literal) else unquote(literal)

    paths = [path(key) for key in keys.filter(encoded).to_pylist()]
    return pc.replace_with_mask(keys, pc.fill_null(encoded, False), pa.array(paths, pa.string()))


def absolute(places: pa.Array, base: str | None) -> pa.Array:
    """Paths from the root, with those that are relative below `base`; other addresses as they are."""
    relative = pc.invert(pc.match_substring_regex(places, r"^/|^[A-Za-z][A-Za-z0-9+.-]*:/"))
    if base is None or not pc.any(relative).as_py():
        return places
    return pc.if_else(relative, pc.binary_join_element_wise(base, places, "/"), places)


def whole(column) -> pa.Array:
    """A column in one piece."""
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks)
    return column


def folders(keys: pa.Array) -> pa.Array:
    """The class of a picture that has no other: the folder in which it lies."""
    found = pc.extract_regex(keys, r"(?:^|/)(?P<folder>[^/]+)/[^/]*$")
    return pc.struct_field(found, "folder")
