"""JSON Schema (draft 2020-12) of the types that edgepose reads and writes as JSON.

Dataclasses, named tuples and typed dictionaries are objects, as `edgepose.runtime.schema` reads them; their fields are
described by the docstrings.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

from edgepose.runtime.io.documents import TextFormat
from edgepose.runtime.schema import Limits

from .docstrings import read_fields, read_summary

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BASE = "https://raw.githubusercontent.com/edgepose/edgepose/main/docs/reference/schemas"
_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}


def make_document(name: str, title: str, kind: Any, *, written: bool, is_open: bool) -> dict[str, Any]:
    """Return the schema of a document.

    Args:
        name: Name of the file, without its suffix.
        title: Title of the schema.
        kind: Type of the document.
        written: True if all entries are always written; False if those with a default may be missing.
        is_open: True if later versions may add entries, so that unknown entries are valid.
    """
    maker = _Maker(written, is_open)
    schema = maker.make_object(kind)
    schema["description"] = _use_json_words(read_summary(kind))
    head = {"$schema": DIALECT, "$id": f"{_BASE}/{name}.schema.json", "title": title}
    return {**head, **schema, **({"$defs": maker.definitions} if maker.definitions else {})}


class _Maker:
    """Converts types; objects inside a document go into its `$defs`."""

    def __init__(self, written: bool, is_open: bool) -> None:
        self.definitions: dict[str, Any] = {}
        self._written, self._is_open = written, is_open

    def make_object(self, kind: Any) -> dict[str, Any]:
        """Return the schema of an object with the fields of a type."""
        texts, properties = read_fields(kind), {}
        hints = get_type_hints(kind, include_extras=True)
        for name in _list_fields(kind):
            properties[name] = self.make(hints[name])
            if name in texts:
                properties[name]["description"] = _use_json_words(texts[name])
        schema: dict[str, Any] = {"type": "object", "properties": properties, "required": self._list_required(kind)}
        if not self._is_open:
            schema["additionalProperties"] = False
        return schema

    def make(self, annotation: Any) -> dict[str, Any]:
        """Return the schema of an annotation."""
        if is_dataclass(annotation) or is_typeddict(annotation) or hasattr(annotation, "_fields"):
            return self._refer(annotation)
        origin, inner = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            schema = self.make(inner[0])
            for metadata in annotation.__metadata__:
                schema |= _make_constraint(metadata)
            return schema
        if origin is Literal:
            return {"enum": list(inner)}
        if origin in (Union, types.UnionType):
            schema = self.make(next(one for one in inner if one is not types.NoneType))
            if isinstance(schema.get("type"), str):
                return {**schema, "type": [schema["type"], "null"]}
            return {"anyOf": [schema, {"type": "null"}]}
        if origin is list or (origin is tuple and inner[-1] is Ellipsis):
            return {"type": "array", "items": self.make(inner[0])}
        if origin is tuple:
            items = [self.make(one) for one in inner]
            return {"type": "array", "prefixItems": items, "items": False, "minItems": len(inner)}
        if origin in (Mapping, dict):
            return {"type": "object", "additionalProperties": self.make(inner[1])}
        if origin is not None:  # NotRequired
            return self.make(inner[0])
        return {"type": _TYPES[annotation]}

    def _refer(self, kind: Any) -> dict[str, Any]:
        name = kind.__name__.removesuffix("Document")
        if name not in self.definitions:
            self.definitions[name] = {}  # keeps the order: outer types first
            self.definitions[name] = {"description": _use_json_words(read_summary(kind)), **self.make_object(kind)}
        return {"$ref": f"#/$defs/{name}"}

    def _list_required(self, kind: Any) -> list[str]:
        if is_typeddict(kind):
            hints = get_type_hints(kind, include_extras=True)
            return [name for name, hint in hints.items() if get_origin(hint) is not NotRequired]
        if self._written:
            return _list_fields(kind)
        if is_dataclass(kind):
            return [one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING]
        return [name for name in kind._fields if name not in kind._field_defaults]


def _use_json_words(text: str) -> str:
    words = {"None": "`null`", "null": "`null`", "True": "`true`", "False": "`false`"}
    return re.sub(r"(?<!`)\b(None|null|True|False)\b(?!`)", lambda match: words[match[1]], text)


def _list_fields(kind: Any) -> list[str]:
    if is_dataclass(kind):
        return [one.name for one in fields(kind)]
    return list(kind.__annotations__)


def _make_constraint(metadata: Any) -> dict[str, Any]:
    if isinstance(metadata, TextFormat):
        return {"pattern": metadata.pattern, **({"format": metadata.name} if metadata.name else {})}
    if not isinstance(metadata, Limits):
        return {}
    limits = {"minimum": metadata.least, "maximum": metadata.most, "exclusiveMinimum": metadata.above}
    return {key: value for key, value in limits.items() if value is not None}
