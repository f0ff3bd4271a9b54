"""The pages for people who continue the work name files: each of them is there."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# What begins with an underscore is the end of a name, of which the sentence has told the beginning.
NAMED = re.compile(r"`([a-zA-Z][\w/.-]*\.(?:py|md|js|json|toml|yml))`")


def files() -> Iterator[str]:
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        yield from (str(Path(folder, name).relative_to(ROOT)) for name in names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_file_that_a_page_names_is_there(page: Path) -> None:
    known = list(files())
    named = set(NAMED.findall(page.read_text()))
    assert {name for name in named if not any(one == name or one.endswith(f"/{name}") for one in known)} == set()
