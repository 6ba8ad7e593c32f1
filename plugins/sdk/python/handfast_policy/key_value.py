"""A small store shared by all instances of one policy: how a policy remembers, when each call is a fresh instance.

A component that imports this must be granted it: ``grants = ["key-value"]``. Keys of at most 256 bytes, values of at most
64 KiB, times to live in milliseconds, at most 30 days.
"""

from typing import Optional

from componentize_py_types import Err
from wit_world.imports import key_value as _store


class StoreError(Exception):
    """``too-large``: the key, the value or the store would exceed its bound. ``not-a-number``: the value to increment is
    not an 8-byte little-endian integer."""


def get(key: bytes) -> Optional[bytes]:
    found = _store.get(key)
    return None if found is None else bytes(found)


def set(key: bytes, value: bytes, time_to_live: int) -> None:
    _checked(_store.set, key, value, time_to_live)


def delete(key: bytes) -> None:
    _store.delete(key)


def increment(key: bytes, delta: int, time_to_live: int) -> int:
    """Adds to an integer that starts at 0, and gives the sum. Its time counts from the first increment."""
    return _checked(_store.increment, key, delta, time_to_live)


def compare_and_set(key: bytes, expected: Optional[bytes], value: bytes, time_to_live: int) -> bool:
    """Replaces the value if it is still the expected one (``None``: absent), and tells whether it did."""
    return _checked(_store.compare_and_set, key, expected, value, time_to_live)


def _checked(function, *arguments):
    try:
        return function(*arguments)
    except Err as error:
        raise StoreError(error.value.name.lower().replace("_", "-")) from None
