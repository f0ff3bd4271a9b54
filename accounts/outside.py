"""One GET of a service outside, with everything bounded: time, size, and where it may lead."""

import asyncio
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp
from django.conf import settings


class OutsideFailed(Exception):
    """No usable answer. The message never holds what was sent or answered."""


def fetch(url: str, *, seconds: float, most_bytes: int, token: str = "") -> bytes:
    """The body at `url`: https, within `seconds` altogether, at most `most_bytes`, without redirects or proxies.

    Parameters
    ----------
    token : sent as `Authorization: Bearer`, if there is one.

    Raises
    ------
    OutsideFailed
    """
    if urlsplit(url).scheme != "https" and settings.ENVIRONMENT != "test":
        raise OutsideFailed("its address is not https")
    try:
        return asyncio.run(_fetch(url, seconds, most_bytes, token))
    except TimeoutError:
        raise OutsideFailed(f"no complete answer in {seconds:g} s") from None
    except (OSError, aiohttp.ClientError) as exc:  # its text may quote the address, which may hold a password
        raise OutsideFailed(f"no answer: {type(exc).__name__}") from None


async def _fetch(url: str, seconds: float, most_bytes: int, token: str) -> bytes:
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    async with (
        aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=seconds), trust_env=False, auto_decompress=False
        ) as session,
        session.get(url, allow_redirects=False, headers=headers) as response,
    ):
        if response.status != HTTPStatus.OK:
            raise OutsideFailed(f"it answered {response.status}")
        body = b""
        async for chunk in response.content.iter_chunked(8192):
            body += chunk
            if len(body) > most_bytes:
                raise OutsideFailed(f"its answer is larger than {most_bytes} bytes")
        return body
