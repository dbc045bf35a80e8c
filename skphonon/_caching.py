"""What is expensive is built once for all equal objects: a bounded store and its keys.

A key tells equal objects from different ones by their content, so that clones in a grid
search and pickled copies in workers find what was built for the original.
"""

import dataclasses
import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from hashlib import blake2b
from threading import Lock
from types import CodeType, FunctionType
from typing import Any, TypeVar

import cloudpickle
import numpy as np

__all__ = ["content_of", "shared"]

T = TypeVar("T")

_BUILT: OrderedDict[Hashable, Any] = OrderedDict()  # latest use last
_KEPT, _LARGEST = 256, 1.5e9  # so many things, and so many bytes of them
_SIZES: dict[Hashable, int] = {}  # bytes of each
_LOCK = Lock()
_EXACT = 2**53  # whole numbers below are floats, too


def shared(key: Hashable, build: Callable[[], T]) -> T:
    """Return what `build` makes, made once for a key as long as there is room."""
    with _LOCK:
        if key in _BUILT:
            _BUILT.move_to_end(key)
            return _BUILT[key]
    built = build()
    with _LOCK:
        _BUILT[key] = built
        _SIZES[key] = _size(built)
        held = sum(_SIZES[each] for each in _BUILT)
        while len(_BUILT) > 1 and (len(_BUILT) > _KEPT or held > _LARGEST):
            held -= _SIZES.pop(_BUILT.popitem(last=False)[0])
    return built


def content_of(value: Any) -> Hashable:
    """Return something small and hashable that only equal values share.

    It is made of text, numbers and digests, so that its `repr` is the same in another
    process. Immutable objects know their own.
    """
    if isinstance(value, np.generic) and value.dtype.kind in "biufcSU":
        value = value.item()
    if value is None or isinstance(value, (bool, bytes)):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (int, float)):
        number = float(value) if abs(value) < _EXACT else value
        return number if number == number else "nan"
    if hasattr(value, "content_key"):
        return value.content_key
    if isinstance(value, np.ndarray) and value.dtype != object:
        data = np.ascontiguousarray(value).tobytes()
        return value.dtype.str, value.shape, blake2b(data, digest_size=16).digest()
    if isinstance(value, (list, tuple)):
        return type(value).__name__, *map(content_of, value)
    if isinstance(value, Mapping):
        return "dict", *((content_of(k), content_of(v)) for k, v in value.items())
    if isinstance(value, type) and value.__module__ != "__main__":
        return "named", value.__module__, value.__qualname__
    if _is_importable(value):
        return "function", *_function_content(value, set())
    if hasattr(value, "get_params"):
        parts = value.get_params(deep=False)
        return content_of(type(value)), content_of(parts)
    if dataclasses.is_dataclass(value):
        parts = {each.name: getattr(value, each.name) for each in _fields(value)}
        return content_of(type(value)), content_of(parts)
    # by value, even of what a notebook defines, and may define again
    return blake2b(cloudpickle.dumps(value), digest_size=16).digest()


def _fields(value: Any) -> tuple[dataclasses.Field, ...]:
    return dataclasses.fields(value)


def _is_importable(value: Any) -> bool:
    """Tell whether a function is what its name says, in any process."""
    module = getattr(value, "__module__", None)
    return (
        isinstance(value, FunctionType)
        and module != "__main__"  # a notebook may define the name again
        and getattr(sys.modules.get(module or ""), value.__qualname__, None) is value
    )


def _function_content(function: FunctionType, seen: set[int]) -> tuple[Hashable, ...]:
    """Name and code of a function, with what it reads of its module."""
    # a module may be reloaded, or a number in it changed
    seen.add(id(function))
    code = function.__code__
    read: list[Hashable] = []
    for name in code.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, FunctionType):
            if value.__module__ == function.__module__ and id(value) not in seen:
                read.append((name, _function_content(value, seen)))
        elif isinstance(value, (int, float, str, np.ndarray, np.generic)):
            read.append((name, content_of(value)))
    constants = [each for each in code.co_consts if not isinstance(each, CodeType)]
    inner = [each.co_code for each in code.co_consts if isinstance(each, CodeType)]
    return (
        function.__module__,
        function.__qualname__,
        code.co_code,
        repr(constants),
        *inner,
        content_of([function.__defaults__, function.__kwdefaults__]),
        *read,
    )


def _size(thing: Any, depth: int = 6) -> int:
    """Bytes of the arrays in what was built."""
    if hasattr(thing, "nbytes"):
        return thing.nbytes
    if depth == 0:
        return 0
    parts = thing.values() if isinstance(thing, dict) else thing
    if not isinstance(parts, (tuple, list, type({}.values()))):
        parts = getattr(thing, "__dict__", {}).values()
    return sum(_size(part, depth - 1) for part in parts)
