"""Files that say they hold a model."""

import json
import zipfile
from io import BytesIO

import sklearn

import skphonon
from skphonon.persistence._archive import PROVENANCE, SCHEMA


def parts_of(content):
    with zipfile.ZipFile(BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(parts, **options):
    made = BytesIO()
    with zipfile.ZipFile(made, "w", **options) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return made.getvalue()


def forged(schema, arrays=None, about=None):
    """Return a file that says a schema is a model, whole and with right checksums."""
    if not isinstance(schema, str):
        schema = json.dumps({"protocol": 2} | schema)
    usual = {"format": "skphonon model", "format_version": 3, "model": {}}
    usual["file"] = {"written": "", "versions": {"skphonon": skphonon.__version__}}
    texts = {SCHEMA: schema, PROVENANCE: json.dumps(usual if about is None else about)}
    return archive_of(texts | (arrays or {}))


def node(loader, name, content=None, **more):
    module, _, cls = name.rpartition(".")
    names = {"__loader__": loader, "__module__": module, "__class__": cls}
    return names | ({} if content is None else {"content": content}) | more


def plain(value):
    return node("JsonNode", "builtins.str", json.dumps(value), is_json=True)


def state(**values):
    keys = [node("TypeNode", "builtins.str")] * len(values)
    types = node("ListNode", "builtins.list", keys)
    return node("DictNode", "builtins.dict", values, key_types=types)


def ridge(**values):
    values = {"_sklearn_version": plain(sklearn.__version__), **values}
    return node("ObjectNode", "sklearn.linear_model.Ridge", state(**values))
