"""One shape for every page of a list: ``{"items", "total", "limit", "offset", "has_more"}``."""

from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.request import Request
from rest_framework.response import Response

# PostgreSQL counts rows in 64 bits; a larger offset is a mistake, and would be an error there.
LARGEST_OFFSET = 2**31


class Page(LimitOffsetPagination):
    """`?limit=` from 1 to 1000 (100 if not given) and `?offset=`. Anything else is refused, not corrected."""

    default_limit = 100
    max_limit = 1000

    def get_limit(self, request: Request) -> int:
        return _number(request, self.limit_query_param, self.default_limit, smallest=1, largest=self.max_limit)

    def get_offset(self, request: Request) -> int:
        return _number(request, self.offset_query_param, 0, smallest=0, largest=LARGEST_OFFSET)

    def get_paginated_response(self, data: Any) -> Response:
        total, offset = self.count or 0, self.offset or 0  # set by now; the stubs cannot know
        return Response(
            {
                "items": data,
                "total": total,
                "limit": self.limit,
                "offset": offset,
                "has_more": offset + len(data) < total,
            }
        )

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "required": ["items", "total", "limit", "offset", "has_more"],
            "properties": {
                "items": schema,
                "total": {"type": "integer", "example": 123},
                "limit": {"type": "integer", "example": self.default_limit},
                "offset": {"type": "integer", "example": 0},
                "has_more": {"type": "boolean", "example": True},
            },
        }


def _number(request: Request, name: str, default: int, *, smallest: int, largest: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and smallest <= int(text) <= largest):
        raise ValidationError({name: [f"Expected a whole number from {smallest} to {largest}."]})
    return int(text)
