"""Arguments held against what they may be, so that an error names the one that is wrong."""

from __future__ import annotations

import operator
import os

from localmim._localmim import InputError


def whole(name: str, value, least: int, most: int | None = None) -> int:
    """A whole number within bounds."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise InputError(f"{name} must be a whole number, not {value!r}") from None
    if number < least or (most is not None and number > most):
        bounds = f"{least} or more" if most is None else f"{least} to {most}"
        raise InputError(f"{name} must be {bounds}, not {number}")
    return number


def wholes(name: str, values, least: int, most: int) -> list[int]:
    """Whole numbers within bounds."""
    if isinstance(values, (str, bytes, dict)) or not hasattr(values, "__iter__"):
        raise InputError(f"{name} must be a list of whole numbers, not {values!r}")
    values = list(values)
    if not values:
        raise InputError(f"{name} must be a list of whole numbers, and this one is empty")
    return [whole(name, value, least, most) for value in values]


def truth(name: str, value) -> bool:
    """True or False."""
    # What numpy has is no bool, but says which it is.
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        return bool(value)
    raise InputError(f"{name} must be True or False, not {value!r}")


def text(name: str, value) -> str:
    """A path or an address."""
    if not isinstance(value, (str, os.PathLike)) or not (value := os.fspath(value)):
        raise InputError(f"{name} must be a path or an address, not {value!r}")
    if not isinstance(value, str):
        raise InputError(f"{name} must be text, not {value!r}")
    return value


def place(name: str, value) -> str:
    """A path or an address; paths from the root, for processes that run elsewhere."""
    value = text(name, value)
    return value if "://" in value else os.path.abspath(value)


def callable_or_none(name: str, value):
    """A function, or None."""
    if value is not None and not callable(value):
        raise InputError(f"{name} must be a function, not {value!r}")
    return value
