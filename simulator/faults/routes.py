"""`/_control/…`: the way in for tests. JSON in the broker's envelope, and the token of SIMULATOR_CONTROL_TOKEN."""

import hmac
import re
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from aiohttp import web

from simulator.announcements import ANNOUNCEMENTS
from simulator.broker import BROKER
from simulator.faults.calls import CONTROL_ROOT
from simulator.faults.control import CONTROL, Control, SocketsOfDeadToken
from simulator.faults.fields import Fields, choose
from simulator.faults.ground_truth import accepted_orders
from simulator.faults.rules import MOST_RULES, CallRule, read_rule
from simulator.faults.socket_kinds import SocketKind, read_socket_fault
from simulator.feed import FEED
from simulator.refusals import Refused
from simulator.rest.envelope import Handler, success


async def list_rules(request: web.Request) -> web.Response:
    return success(request, [rule.as_json() for rule in request.app[CONTROL].rules.rules.values()])


async def add_rules(request: web.Request) -> web.Response:
    """`POST /_control/faults` with one rule or a list of them; all are added or none."""
    body = await _json(request)
    asked = body if isinstance(body, list) else [body]
    if len(asked) > MOST_RULES:
        raise Refused.input(f"At most {MOST_RULES} rules.")
    rules = [read_rule(one, default_seed=request.app[BROKER].options.seed) for one in asked]
    for rule in rules:
        if isinstance(rule, CallRule) and (path := rule.condition.path) is not None:
            _refuse_unknown_path(request.app, path)
    added = request.app[CONTROL].rules.add(rules)
    return success(request, [rule.as_json() for rule in added])


async def remove_rule(request: web.Request) -> web.Response:
    number = request.match_info["number"]
    if not request.app[CONTROL].rules.remove(int(number)):
        raise Refused(404, "DataException", f"There is no rule {number}.")
    return success(request, True)


async def remove_rules(request: web.Request) -> web.Response:
    return success(request, request.app[CONTROL].rules.clear())


async def list_sockets(request: web.Request) -> web.Response:
    sockets = [
        {
            "socket": connection.number,
            "api_key": connection.access.app.api_key,
            "user_id": connection.access.user.user_id,
            "subscribed": connection.subscribed,
            "disturbed": connection.disturbance is not None,
        }
        for connection in request.app[CONTROL].sockets()
    ]
    return success(request, sockets)


async def disturb_sockets(request: web.Request) -> web.Response:
    """`POST /_control/sockets/faults`: to the open sockets that fit, at once. Answers their numbers."""
    control = request.app[CONTROL]
    fields = Fields(await _json(request))
    kind = choose(SocketKind, fields.text("kind", ""), "kind")
    seed = fields.whole("seed", request.app[BROKER].options.seed, least=0, most=1 << 62) or 0
    chosen = control.sockets(
        number=fields.whole("socket", None, least=1, most=1 << 62),
        api_key=fields.text("api_key"),
        user_id=fields.text("user_id"),
    )
    fault = read_socket_fault(kind, fields, seed=seed)
    fields.done()
    await control.disturb(chosen, fault)
    return success(request, [connection.number for connection in chosen])


async def calm_sockets(request: web.Request) -> web.Response:
    control = request.app[CONTROL]
    control.calm(control.sockets())
    return success(request, True)


async def kill_tokens(request: web.Request) -> web.Response:
    """`POST /_control/tokens/kill`; answers how many were live."""
    fields = Fields(await _json(request))
    chosen = {name: fields.text(name) for name in ("api_key", "user_id", "access_token")}
    sockets = fields.choice("sockets", SocketsOfDeadToken, SocketsOfDeadToken.CLOSE)
    fields.done()
    return success(request, await request.app[CONTROL].kill_tokens(**chosen, sockets=sockets))


async def read_counters(request: web.Request) -> web.Response:
    control = request.app[CONTROL]
    return success(request, control.counters.as_json(control.open_sockets()))


async def reset_counters(request: web.Request) -> web.Response:
    request.app[CONTROL].counters.reset()
    return success(request, True)


async def read_orders(request: web.Request) -> web.Response:
    """`GET /_control/orders`: what the broker has really taken; `user_id` and `tag` in the query choose."""
    user_id, tag = request.query.get("user_id"), request.query.get("tag")
    found = accepted_orders(request.app[BROKER].desk.lifecycle.accepted)
    chosen = [o for o in found if user_id in (None, o["user_id"]) and tag in (None, o["tag"])]
    return success(request, chosen)


async def reset_orders(request: web.Request) -> web.Response:
    """Every account as at the start."""
    request.app[BROKER].desk.reset()
    return success(request, True)


async def read_postbacks(request: web.Request) -> web.Response:
    """`GET /_control/postbacks`: the ones sent, the oldest first, and what was answered."""
    return success(request, [asdict(sent) for sent in request.app[ANNOUNCEMENTS].postbacks.sent])


async def _json(request: web.Request) -> Any:
    try:
        return await request.json()
    except ValueError:
        raise Refused.input("Expected a JSON body.") from None


def _refuse_unknown_path(app: web.Application, path: str) -> None:
    """A rule for a path that nothing answers would wait for ever."""
    for resource in app.router.resources():
        pattern = "[^/]+".join(re.escape(part) for part in re.split(r"\{[^}]*\}", resource.canonical))
        if path == resource.canonical or re.fullmatch(pattern, path):
            return
    raise Refused.input(f"No route has the path {path!r}.")


def _guarded(token: str, handler: Handler) -> Handler:
    expected = f"Bearer {token}".encode()

    async def guarded(request: web.Request) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode(errors="replace")
        if not hmac.compare_digest(given, expected):
            raise Refused.permission("The control API wants `Authorization: Bearer` and SIMULATOR_CONTROL_TOKEN.")
        return await handler(request)

    return guarded


async def _is_off(request: web.Request) -> web.StreamResponse:
    raise Refused.permission("The control API is off; start the simulator with SIMULATOR_CONTROL_TOKEN to have it.")


def setup(app: web.Application, system_clock: Callable[[], float] = time.time) -> None:
    """Route the control API, or say that it is off. After the feed's own set-up."""
    token = app[BROKER].options.control_token
    if not token:
        app.router.add_route("*", CONTROL_ROOT + "/{anything:.*}", _is_off)
        return
    control = app[CONTROL] = Control(app[BROKER], app[FEED], app[ANNOUNCEMENTS], system_clock)

    async def let_go(_: web.Application) -> None:
        control.stop()

    app.on_shutdown.append(let_go)
    for method, path, handler in (
        ("GET", "/faults", list_rules),
        ("POST", "/faults", add_rules),
        ("DELETE", "/faults", remove_rules),
        ("DELETE", r"/faults/{number:[0-9]{1,9}}", remove_rule),
        ("GET", "/sockets", list_sockets),
        ("POST", "/sockets/faults", disturb_sockets),
        ("DELETE", "/sockets/faults", calm_sockets),
        ("POST", "/tokens/kill", kill_tokens),
        ("GET", "/orders", read_orders),
        ("DELETE", "/orders", reset_orders),
        ("GET", "/postbacks", read_postbacks),
        ("GET", "/counters", read_counters),
        ("DELETE", "/counters", reset_counters),
    ):
        app.router.add_route(method, CONTROL_ROOT + path, _guarded(token, handler))
