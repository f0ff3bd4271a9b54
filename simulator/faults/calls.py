"""Counts every REST call and handshake, and lets go wrong what a rule says."""

from http import HTTPStatus

from aiohttp import web

from simulator.broker import BROKER
from simulator.faults.call_kinds import (
    Answer,
    CallFault,
    ContentType,
    Delay,
    Drip,
    Hang,
    Oversize,
    Pass,
    Reset,
    Truncate,
    WrongBook,
)
from simulator.faults.connections import hang_up, reset
from simulator.faults.control import CONTROL, Control
from simulator.faults.rules import CallRule, Occasion, Target
from simulator.rest.book_views import VIEW, BookView
from simulator.rest.envelope import ARRIVED_AT, Handler

CONTROL_ROOT = "/_control"
_CHUNK = b"x" * (64 << 10)
_NO_ANSWER = "none"


class NoAnswer(web.Response):
    """Stands for an answer that was never given. The connection is gone, so that nothing of it is sent."""


@web.middleware
async def disturb(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost middleware: what it sends has no envelope unless it makes one itself."""
    if request.path.startswith(CONTROL_ROOT + "/"):
        return await handler(request)
    request[ARRIVED_AT] = request.app[BROKER].system_clock()
    control = request.app[CONTROL]
    occasion = await _occasion(request)
    rule = control.rules.take(occasion)
    fault = rule.fault if isinstance(rule, CallRule) else Pass()
    if occasion.on is Target.HANDSHAKE:
        answered = await _answer(fault, request, handler, control)
        if answered.status != HTTPStatus.SWITCHING_PROTOCOLS:
            control.counters.sockets_of(occasion.api_key).refused[_outcome(answered)] += 1
        return answered
    answers = control.counters.call(occasion).answers
    try:
        answered = await _answer(fault, request, handler, control)
    except web.HTTPException as redirection:
        answers[str(redirection.status)] += 1
        raise
    answers[_outcome(answered)] += 1
    return answered


async def _answer(fault: CallFault, request: web.Request, handler: Handler, control: Control) -> web.StreamResponse:
    try:
        return await carry_out(fault, request, handler, control)
    except ConnectionError:  # the client left while it was being answered, as clients do when things go wrong
        return NoAnswer()


async def carry_out(fault: CallFault, request: web.Request, handler: Handler, control: Control) -> web.StreamResponse:
    """Answer the request as the fault wants it; `handler` does its work and has the true answer."""
    match fault:
        case Pass():
            return await handler(request)
        case Answer():
            if fault.after_work:
                await _work(request, handler)
            headers = {**fault.headers, "Content-Type": fault.content_type}
            return web.Response(status=fault.status, body=fault.body, headers=headers)
        case Delay(seconds, after_work=True):
            worked = await _work(request, handler)
            await control.pause(seconds)
            return worked
        case Delay(seconds):
            await request.read()  # once the client has left, its body could no longer be read
            await control.pause(seconds)
            return await handler(request)
        case Hang(after_work):
            if after_work:
                await _work(request, handler)
            await control.until_client_leaves(request)
            hang_up(request.transport)
            return NoAnswer()
        case Reset(after_work):
            if after_work:
                await _work(request, handler)
            reset(request.transport)
            return NoAnswer()
        case Drip(size, seconds):
            return await _drip(request, await _work(request, handler), size, seconds, control)
        case Truncate(size):
            return await _truncate(request, await _work(request, handler), size)
        case ContentType(content_type):
            worked = await _work(request, handler)
            worked.headers["Content-Type"] = content_type
            return worked
        case Oversize(size):
            return await _oversize(request, size)
        case WrongBook(is_empty, without, seconds_ago):
            as_of = None if seconds_ago is None else request.app[BROKER].system_clock() - seconds_ago
            request[VIEW] = BookView(as_of, without, is_empty)
            return await handler(request)


async def _work(request: web.Request, handler: Handler) -> web.Response:
    """Do what was asked, and keep the answer."""
    try:
        worked = await handler(request)
    except web.HTTPRedirection as redirection:
        worked = web.Response(status=redirection.status, headers=redirection.headers)
        worked.cookies.update(redirection.cookies)
    if not isinstance(worked, web.Response):
        raise TypeError(f"{request.path} answers in pieces, which no fault can change")
    return worked


def _begun(answer: web.Response) -> tuple[web.StreamResponse, bytes]:
    """The answer's head, to be sent with its whole length, and its body, uncompressed."""
    body = answer.body if isinstance(answer.body, bytes) else b""
    head = web.StreamResponse(status=answer.status, headers=answer.headers)
    head.cookies.update(answer.cookies)
    head.content_length = len(body)
    return head, body


async def _drip(
    request: web.Request, answer: web.Response, size: int, seconds: float, control: Control
) -> web.StreamResponse:
    head, body = _begun(answer)
    await head.prepare(request)
    for start in range(0, len(body), size):
        await head.write(body[start : start + size])
        await control.pause(seconds)
    return head


async def _truncate(request: web.Request, answer: web.Response, size: int | None) -> web.StreamResponse:
    head, body = _begun(answer)
    await head.prepare(request)
    await head.write(body[: len(body) // 2 if size is None else size])
    hang_up(request.transport)
    return head


async def _oversize(request: web.Request, size: int) -> web.StreamResponse:
    before, after = b'{"status":"success","data":"', b'"}'
    head = web.StreamResponse(headers={"Content-Type": "application/json"})
    head.content_length = size
    await head.prepare(request)
    await head.write(before)
    left = size - len(before) - len(after)
    while left > 0:
        await head.write(_CHUNK[:left])
        left -= len(_CHUNK)
    await head.write(after)
    return head


async def _occasion(request: web.Request) -> Occasion:
    is_handshake = request.path == "/" and request.headers.get("Upgrade", "").lower() == "websocket"
    resource = request.match_info.route.resource
    logins = request.app[BROKER].logins
    api_key, access_token = await _credentials(request)
    owner = logins.owner(api_key, access_token)
    return Occasion(
        on=Target.HANDSHAKE if is_handshake else Target.CALL,
        api_key=api_key if api_key in logins.apps else "",
        user_id=owner.user.user_id if owner else "",
        method=request.method,
        path=request.path,
        route=resource.canonical if resource else None,
    )


async def _credentials(request: web.Request) -> tuple[str, str]:
    """The api key and access token that a request gives, each `""` where it gives none; true or not."""
    kind, _, pair = request.headers.get("Authorization", "").partition(" ")
    if kind == "token":
        api_key, _, access_token = pair.strip().partition(":")
        return api_key, access_token
    if "api_key" in request.query:
        return request.query["api_key"], request.query.get("access_token", "")
    if request.path == "/session/token" and request.method == "POST":
        try:
            return str((await request.post()).get("api_key", "")), ""
        except (ValueError, ConnectionError, web.HTTPException):
            return "", ""  # the route itself will say so
    return "", ""


def _outcome(answered: web.StreamResponse) -> str:
    return _NO_ANSWER if isinstance(answered, NoAnswer) else str(answered.status)
