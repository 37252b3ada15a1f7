"""Typed reading of the engine's JSON: a missing or odd value becomes a neutral one.

Engines of different versions leave things out or send null, so that no field may be taken for granted;
whoever can't do without one checks for the neutral value.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeGuard

Json = Mapping[str, object]
EPOCH = datetime.fromtimestamp(0, UTC)


def is_mapping(value: object) -> TypeGuard[Mapping[str, object]]:
    """Whether it is a JSON object (whose keys are always text)."""
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)


def parsed(data: bytes) -> Json:
    """The JSON object in `data`, else an empty one."""
    try:
        decoded: object = json.loads(data)
    except ValueError:
        return {}
    return decoded if is_mapping(decoded) else {}


def mapping(source: Json, key: str) -> Json:
    """The object under `key`, else an empty one."""
    value = source.get(key)
    return value if is_mapping(value) else {}


def mappings(value: object) -> Sequence[Json]:
    """The objects in a list; everything else in it is left out."""
    return [entry for entry in value if is_mapping(entry)] if _is_list(value) else []


def text(source: Json, key: str) -> str:
    """The text under `key`, else an empty one."""
    value = source.get(key)
    return value if isinstance(value, str) else ""


def integer(source: Json, key: str) -> int:
    """The whole number under `key`, else 0."""
    value = source.get(key)
    return value if isinstance(value, int) else 0


def strings(source: Json, key: str) -> Sequence[str]:
    """The texts in the list under `key`."""
    value = source.get(key)
    return [entry for entry in value if isinstance(entry, str)] if _is_list(value) else []


def moment(source: Json, key: str) -> datetime:
    """The time under `key`, which the engine writes with nanoseconds; else the epoch."""
    written = text(source, key)
    head, dot, tail = written.partition(".")
    digits = len(tail) - len(tail.lstrip("0123456789"))
    shortened = f"{head}.{tail[: min(digits, 6)]:0<6}{tail[digits:]}" if dot and digits else written
    try:
        parsed = datetime.fromisoformat(shortened)
    except ValueError:
        return EPOCH
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
