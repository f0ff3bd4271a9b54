"""The audit's chain: the canonical form of an event, and walking all links to find the first that does not hold.

The canonical form is JSON in ASCII with sorted keys and without spaces, of exactly these members: `v` (1), `id`, `at`
(UTC, ISO 8601 with microseconds), `kind`, `actor`, `actor_label`, `account`, `address`, `request_id`, `details`.

    digest   = hex(sha256(canonical form))
    hash     = hex(sha256(previous + digest))     both as text; the first `previous` is 64 zeros

The digest is made with the event; the link when the transaction commits, by a trigger that holds the chain's lock. So a
transaction that records early and works on holds up nobody, and two that record crosswise cannot lock each other.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC

from accounts.audit_events import AuditEvent, AuditLink

FIRST_PREVIOUS = "0" * 64
BATCH = 2000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a walk found: the chain's head as `position:hash`, and what is wrong, if anything is."""

    checked: int
    head: str
    problem: str | None


def digest_of(event: AuditEvent) -> str:
    """SHA-256 of the event's canonical form, in hexadecimal."""
    return hashlib.sha256(canonical_form(event)).hexdigest()


def canonical_form(event: AuditEvent) -> bytes:
    form = {
        "v": 1,
        "id": str(event.id),
        "at": event.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "kind": str(event.kind),
        "actor": event.actor,
        "actor_label": event.actor_label,
        "account": event.account,
        "address": event.address,
        "request_id": event.request_id,
        "details": event.details,
    }
    return json.dumps(form, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def verify(*, known_head: str | None = None, report: Callable[[int], None] = lambda checked: None) -> Verdict:
    """Walk the chain from its first link, and stop at the first that does not hold.

    Parameters
    ----------
    known_head : a head (`position:hash`) that an earlier walk told. Only this shows that the newest rows were cut off.
    report : told how many links have been checked, now and then.
    """
    position, previous = 0, FIRST_PREVIOUS
    known_position, _, known_hash = (known_head or "0:").partition(":")
    found_known = known_head is None
    while True:
        links = list(
            AuditLink.objects.filter(position__gt=position).select_related("event").order_by("position")[:BATCH]
        )
        for link in links:
            if problem := _problem(link, position, previous):
                return Verdict(position, f"{position}:{previous}", problem)
            position, previous = link.position, link.hash
            if known_head is not None and str(position) == known_position:
                if previous != known_hash:
                    return Verdict(position, str(link), f"row {position} is not the one that the known head names")
                found_known = True
        report(position)
        if len(links) < BATCH:
            break
    head = f"{position}:{previous}"
    if not found_known:
        return Verdict(position, head, f"row {position + 1} is missing: the known head is row {known_position}")
    if loose := AuditEvent.objects.filter(link=None).order_by("at").first():
        return Verdict(position, head, f"event {loose.pk} of {loose.at.isoformat()} is in no row of the chain")
    return Verdict(position, head, None)


def _problem(link: AuditLink, last: int, previous: str) -> str | None:
    """What is wrong with the link that should follow `last`."""
    if link.position != last + 1:
        return f"row {last + 1} is missing: row {link.position} follows row {last}"
    event = link.event
    if digest_of(event) != event.digest:
        return f"row {link.position} was changed: event {event.pk} ({event.kind}) is not what its digest was made of"
    if link.previous != previous:
        return f"row {link.position} does not follow row {last}: one of them was replaced"
    if hashlib.sha256((previous + event.digest).encode()).hexdigest() != link.hash:
        return f"row {link.position} was changed: its hash does not fit its event {event.pk} ({event.kind})"
    return None
