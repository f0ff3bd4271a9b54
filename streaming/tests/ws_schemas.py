"""The project's JSON Schemas of WebSocket messages, for tests of whoever writes such messages."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

FOLDER = Path(__file__).parents[2] / "docs" / "schemas" / "ws"


@cache
def schemas() -> dict[str, dict[str, Any]]:
    """Every schema by the name of its file."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


@cache
def validator(name: str) -> Draft202012Validator:
    resources = [(schema["$id"], Resource.from_contents(schema)) for schema in schemas().values()]
    registry: Registry[Any] = Registry().with_resources(resources)
    return Draft202012Validator(schemas()[name], registry=registry, format_checker=FormatChecker())


def check(name: str, message: Any) -> None:
    """Raises jsonschema.ValidationError if the message is not what `docs/schemas/ws/{name}.json` says."""
    validator(name).validate(message)
    for line in [message] if name == "part-line" else message.get("parts", []):
        if isinstance(line, dict) and "columns" in line:
            lengths = {len(values) for values in line["columns"].values()}
            assert len(lengths) == 1, f"the columns of {line['part']} have {sorted(lengths)} rows"
