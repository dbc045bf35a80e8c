"""The zip file of skops, of which nothing is believed that was not checked.

skops writes an object as text, ``schema.json``, that names classes and holds their
attributes, and arrays in files beside it. It trusts all of scikit-learn, functions of
numpy and of scipy, and much else. Files of models need a dozen kinds of node, and
:func:`check` refuses any other before skops sees it. It also keeps small files from
asking for much memory or time: an array serves once, and what is shared is counted as
often as skops looks at it.

:func:`packed` makes a file of what skops wrote: with the names by which classes are
offered in place of those of private modules, which move; with what is shared, such as
a simulator, written once; and with a text of our own, ``skphonon.json``.
"""

import json
import re
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np

__all__ = ["MARKS", "PROVENANCE", "SCHEMA", "check", "opened", "packed", "read_text"]

SCHEMA, PROVENANCE = "schema.json", "skphonon.json"

_LARGEST_TEXT = 2**26  # bytes; a model of 2000 epochs has some 2**21
_DEEPEST = 200  # levels of JSON; a pipeline of pipelines has some fifty
_MOST_NODES = 2**20
_NULL = {
    "__class__": "str",
    "__module__": "builtins",
    "__loader__": "JsonNode",
    "content": "null",
}
_SCALARS = {t for t in np.sctypeDict.values() if issubclass(t, np.number | np.bool_)}
_PLAIN = {
    "DictNode": {"builtins.dict", "collections.OrderedDict"},
    "ListNode": {"builtins.list"},
    "TupleNode": {"builtins.tuple"},
    "JsonNode": {"builtins.str"},
    "NdArrayNode": {"numpy.ndarray", *(f"numpy.{t.__name__}" for t in _SCALARS)},
    "TypeNode": {"builtins.str", "builtins.int", "builtins.float"},  # of keys
}
_SHARED = "ObjectNode", "NdArrayNode"  # the only ones that have an identity
_REFERENCE = {"__class__", "__module__", "__loader__", "__id__"}
MARKS = {"__loader__", "__id__"}  # of a node, and no keys of a dict therefore


def packed(content, names, provenance):
    """Return the bytes of a file of skops with names, sharing and text of ours."""
    result = BytesIO()
    with (
        ZipFile(BytesIO(content)) as archive,
        ZipFile(result, "w", ZIP_STORED) as made,
    ):
        schema = json.loads(archive.read(SCHEMA))
        for node in _nodes(schema, {}):
            full_name = names.get(_name(node), _name(node))
            node["__module__"], _, node["__class__"] = full_name.rpartition(".")
            if _is_pipeline(node):
                _state(node)["memory"] = _NULL
            if "file" in node:
                array = archive.read(node["file"])
                node["file"] = f"{node['__id__']}.npy"
                made.writestr(node["file"], array)
        for name, text in ((SCHEMA, schema), (PROVENANCE, provenance)):
            made.writestr(name, json.dumps(text), ZIP_DEFLATED)
    return result.getvalue()


def opened(file):
    """Return the archive in a file, none of whose parts is larger than it says.

    Raises
    ------
    ValueError, BadZipFile
        If it is no zip file, or unpacks to much more than it holds.
    """
    archive = ZipFile(file)
    parts = archive.infolist()
    for part in parts:
        packs = part.filename in (SCHEMA, PROVENANCE)
        if packs and part.file_size > _LARGEST_TEXT:
            raise ValueError(f"{part.filename} has {part.file_size} bytes")
        if not packs and part.compress_type != ZIP_STORED:
            raise ValueError(f"{part.filename} is compressed")
    if sum(part.compress_size for part in parts) > file.seek(0, 2):
        raise ValueError("its parts overlap")
    return archive


def read_text(archive, name):
    """Return the content of a JSON text that is not nested too deep.

    Python's reader calls itself at every bracket, and a library that has raised the
    limit of recursion lets it run out of memory and take the process with it.
    """
    if name not in archive.namelist():
        raise ValueError(f"it has no {name}, which save_model writes")
    text = archive.read(name).decode()
    brackets = re.sub(r'"(?:[^"\\]|\\.)*"|[^\[\]{}"]', "", text).encode()
    opens = np.isin(np.frombuffer(brackets, np.uint8), list(b"[{"))
    deepest = np.cumsum(np.where(opens, 1, -1), dtype=np.int32).max(initial=0)
    if deepest > _DEEPEST:
        raise ValueError(f"{name} is nested {deepest} deep")
    return json.loads(text)


def check(schema, trusted):
    """Raise a ValueError unless a schema is of nodes that are allowed.

    Parameters
    ----------
    schema : dict
        As skops reads it.
    trusted : collection of str
        Full names of the classes that it may make instances of.
    """
    allowed = {**_PLAIN, "ObjectNode": set(trusted)}
    n_nodes = _size(schema, allowed, {}, set())
    if n_nodes > _MOST_NODES:
        raise ValueError(f"it holds {n_nodes} values, of {_MOST_NODES} at most")


def _size(node, allowed, sizes, files):
    """Check what is in a node; return how many nodes skops will look at."""
    if isinstance(node, list):
        return sum(_size(part, allowed, sizes, files) for part in node)
    if not isinstance(node, dict):
        return 0
    size = 1 + sum(_size(part, allowed, sizes, files) for part in node.values())
    if "__loader__" in node:
        _check_node(node, allowed, files)
    if "__id__" not in node:
        return size
    number = node["__id__"]
    is_reference = node.keys() == _REFERENCE
    if node.get("__loader__") not in _SHARED or is_reference != (number in sizes):
        raise ValueError(f"it refers to the object {number!r} where none can be")
    return sizes.setdefault(number, size)


def _check_node(node, allowed, files):
    loader = node["__loader__"]
    if _name(node) not in allowed.get(loader, ()):
        raise ValueError(
            f"{_name(node)!r} is not trusted. Where you know it to be a harmless "
            "class, pass it in trusted"
        )
    if loader == "JsonNode" and str(node["content"]).lstrip()[:1] in ("[", "{"):
        raise ValueError("a number or text in it is neither")
    if loader == "DictNode":
        if any(key["__loader__"] != "TypeNode" for key in node["key_types"]["content"]):
            raise ValueError("keys in it are neither text nor numbers")
    if loader == "ObjectNode" and node.keys() != _REFERENCE:
        if node["content"]["__loader__"] != "DictNode":
            raise ValueError(f"a {node['__class__']} in it has no attributes")
    if _is_pipeline(node) and _state(node)["memory"] != _NULL:  # a folder of pickles
        raise ValueError("a pipeline in it has a cache")
    if "file" in node:
        if node["file"] in files:
            raise ValueError(f"the array {node['file']!r} serves twice")
        files.add(node["file"])


def _nodes(part, numbers):
    """Yield the nodes of a schema; of what comes again leave a reference."""
    if isinstance(part, dict) and "__loader__" in part:
        number = part.pop("__id__", None)
        if part["__loader__"] in _SHARED:
            again = number in numbers
            part["__id__"] = numbers.setdefault(number, len(numbers) + 1)
            if again:
                for key in part.keys() - _REFERENCE:
                    del part[key]
        yield part
    if isinstance(part, list | dict):
        for each in part.values() if isinstance(part, dict) else part:
            yield from _nodes(each, numbers)


def _is_pipeline(node):
    if node["__loader__"] != "ObjectNode" or "content" not in node:
        return False
    return {"steps", "memory"} <= _state(node).keys()


def _name(node):
    return f"{node['__module__']}.{node['__class__']}"


def _state(node):
    return node["content"]["content"]
