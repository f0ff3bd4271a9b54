"""The project's JSON Schemas of the broker's answers."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

FOLDER = Path(settings.BASE_DIR) / "docs" / "schemas" / "kite"


@cache
def _registry() -> Any:
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.json")]
    return Registry().with_resources((d["$id"], Resource.from_contents(d)) for d in documents)


def violations(name: str, body: object) -> list[str]:
    """What in `body` breaks the schema of that name; empty when nothing does."""
    schema = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    validator = Draft202012Validator(schema, registry=_registry())
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(body)]
