"""The one shape of every answer."""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from simulator.broker import BROKER
from simulator.logins import Access
from simulator.refusals import Refused

logger = logging.getLogger(__name__)

# When a request came in (system time), before anything was done about it.
ARRIVED_AT = web.RequestKey("arrived_at", float)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_COMPRESS_FROM_BYTES = 2_000


def success(request: web.Request, data: object) -> web.Response:
    """`data` in the envelope of a call that worked."""
    return _answer(request, 200, {"status": "success", "data": data})


def failure(request: web.Request, refusal: Refused) -> web.Response:
    """A refusal in the envelope. The official client needs both message and error_type in every one."""
    return _answer(
        request,
        refusal.status,
        {"status": "error", "message": refusal.message, "data": None, "error_type": refusal.error_type},
    )


def _answer(request: web.Request, status: int, body: dict[str, Any]) -> web.Response:
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    response = web.Response(status=status, body=content, content_type="application/json")
    if len(content) >= _COMPRESS_FROM_BYTES and "gzip" in request.headers.get("Accept-Encoding", ""):
        response.enable_compression(web.ContentCoding.gzip)
    return response


@web.middleware
async def envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever goes wrong into the error envelope: a client must never see another shape."""
    try:
        return await handler(request)
    except Refused as refusal:
        return failure(request, refusal)
    except web.HTTPNotFound:
        return failure(request, Refused(404, "GeneralException", "Route not found"))
    except web.HTTPMethodNotAllowed:
        return failure(request, Refused(405, "GeneralException", "Method not allowed"))
    except web.HTTPRedirection:
        raise
    except web.HTTPException as exc:
        return failure(request, Refused(exc.status, "GeneralException", exc.reason))
    except Exception:  # a broker's mistake is its own error in its own form, as the real one's is
        logger.exception("%s %s failed", request.method, request.path)
        return failure(request, Refused(500, "GeneralException", "Something unexpected happened"))


async def form_of(request: web.Request) -> Mapping[str, Any]:
    """The members of a form body; of one that is no form, none. Raises Refused for one that cannot be read."""
    try:
        return await request.post()
    except (ValueError, LookupError):  # bytes that are no text, a charset that is none
        raise Refused.input("Invalid request body.") from None


def access_of(request: web.Request, *, bucket: str | None = "other", market_data: bool = False) -> Access:
    """The login that made this request, counted against its rate limit. Raises Refused."""
    access = request.app[BROKER].authenticate(request.headers.get("Authorization"), bucket=bucket)
    if market_data and not access.app.market_data:
        raise Refused.permission("Insufficient permission for that call.")
    return access
