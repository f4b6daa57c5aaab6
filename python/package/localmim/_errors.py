"""Errors of an engine's workers, as those who called can catch them."""

from __future__ import annotations

import contextlib
import re

from localmim._localmim import Error, InputError, SetError, StoreError

KINDS = {kind.__name__: kind for kind in (Error, InputError, SetError, StoreError)}
# A traceback's last line; what it says may be of several, and the engine's own words come after.
TOLD = re.compile(r"^\s*(?:localmim\.)(?:_localmim\.)?(\w+): (.*?)(?=\n\s*\n|\n\s+at |\n\S*Error\b|\Z)", re.M | re.S)


@contextlib.contextmanager
def of_workers():
    """Raises what a worker raised, by its kind and in its words, from the engine's error."""
    try:
        yield
    except Exception as error:
        found = cause(error)
        # Ray's errors are of the kind of their cause, too, but tell of the whole way that it came.
        if found is None or found is error:
            raise
        raise found from error


def cause(error: BaseException) -> Error | None:
    """The error of `localmim` in what an engine raised, if there is one."""
    seen, at = set(), error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        if type(at) in KINDS.values():
            return at
        # What was raised while another error was told (`__context__`) may be no part of it.
        at = getattr(at, "cause", None) or at.__cause__
    told = [match for match in TOLD.finditer(str(error)) if match[1] in KINDS]
    return KINDS[told[-1][1]](told[-1][2].strip()) if told else None
