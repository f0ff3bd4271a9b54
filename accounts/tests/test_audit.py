"""The audit: written with what it records, chained, refused to be changed, and telling if it was changed anyway."""

import hashlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from threading import Barrier
from typing import Any

import pytest
import structlog
from django.core.management import CommandError, call_command
from django.db import InternalError, ProgrammingError, connection, transaction

from accounts.actions import Action
from accounts.audit import Actor, Bound, Kind, acting_as, record, record_refusal
from accounts.audit_chain import canonical_form, digest_of, verify
from accounts.audit_events import AuditEvent, AuditLink


def link() -> None:
    """What a commit does; a test's own transaction never commits."""
    connection.check_constraints()


def tamper(sql: str, *values: str) -> None:
    """Change rows as whoever owns the tables can."""
    link()
    with connection.cursor() as cursor:
        for table in ("accounts_auditevent", "accounts_auditlink"):
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        cursor.execute(sql, values)
        connection.check_constraints()
        for table in ("accounts_auditevent", "accounts_auditlink"):
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


@pytest.fixture
def five(db: None) -> list[AuditEvent]:
    events = [record(Kind.KEY_MADE, account="AB1234", number=number) for number in range(1, 6)]
    link()
    return events


def test_the_canonical_form_is_the_documented_one() -> None:
    event = AuditEvent(
        id=uuid.UUID("00000000-0000-4000-8000-000000000001"),
        at=datetime(2026, 11, 25, 5, 12, 0, 1, tzinfo=UTC),
        kind="key.made",
        actor="user:3",
        actor_label="Ашa",
        account="AB1234",
        address="10.0.0.1",
        request_id="abcdefgh",
        details={"b": 1, "a": [True, None, "x"]},
    )
    assert canonical_form(event) == (
        b'{"account":"AB1234","actor":"user:3","actor_label":"\\u0410\\u0448a","address":"10.0.0.1",'
        b'"at":"2026-11-25T05:12:00.000001+00:00","details":{"a":[true,null,"x"],"b":1},'
        b'"id":"00000000-0000-4000-8000-000000000001","kind":"key.made","request_id":"abcdefgh","v":1}'
    )
    assert digest_of(event) == hashlib.sha256(canonical_form(event)).hexdigest()


def test_each_row_holds_the_hash_of_the_one_before(five: list[AuditEvent]) -> None:
    links = list(AuditLink.objects.order_by("position"))
    assert [found.event_id for found in links[-5:]] == [event.pk for event in five]
    assert [found.position for found in links] == list(range(1, len(links) + 1))
    assert [found.previous for found in links[1:]] == [found.hash for found in links[:-1]]
    assert verify().problem is None


def test_an_event_is_undone_with_what_it_records(five: list[AuditEvent]) -> None:
    with transaction.atomic():
        record(Kind.KEY_MADE)
        transaction.set_rollback(True)
    link()
    assert AuditEvent.objects.count() == len(five)
    assert verify().problem is None


@pytest.mark.django_db(transaction=True)
def test_writers_at_once_make_one_chain() -> None:
    ready = Barrier(6)

    def write(writer: int) -> None:
        try:
            ready.wait(10)
            for number in range(20):
                with transaction.atomic():
                    record(Kind.KEY_MADE, writer=writer, number=number)
                    record(Kind.KEY_REVOKED, writer=writer, number=number)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    verdict = verify()
    assert (verdict.checked, verdict.problem) == (240, None)


@pytest.mark.django_db(transaction=True)
def test_a_long_transaction_that_has_recorded_holds_up_nobody() -> None:
    def write() -> None:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '500ms'")
                record(Kind.KEY_MADE)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        first = record(Kind.KEY_REVOKED)
        pool.submit(write).result(10)
    assert AuditLink.objects.get(event=first).position == 2, "in the chain, commits count"
    assert verify().problem is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts_auditevent SET actor = 'user:9'",
        "DELETE FROM accounts_auditevent",
        "UPDATE accounts_auditlink SET hash = ''",
        "DELETE FROM accounts_auditlink",
        "TRUNCATE accounts_auditlink",
        "TRUNCATE accounts_auditevent, accounts_auditlink",
    ],
)
def test_the_database_refuses_to_change_what_is_written(five: list[AuditEvent], statement: str) -> None:
    with connection.cursor() as cursor:  # off for the test run only: it empties tables
        cursor.execute("ALTER TABLE accounts_auditevent ENABLE TRIGGER accounts_auditevent_not_emptied")
        cursor.execute("ALTER TABLE accounts_auditlink ENABLE TRIGGER accounts_auditlink_not_emptied")
    refused = pytest.raises((InternalError, ProgrammingError), match="the audit only grows")
    with refused, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert AuditEvent.objects.count() == len(five)


EVENT = "UPDATE accounts_auditevent SET {} WHERE id = (SELECT event_id FROM accounts_auditlink WHERE position = 3)"


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (EVENT.format("actor = 'user:9'"), "row 3 was changed"),
        (EVENT.format("at = at + interval '1 microsecond'"), "row 3 was changed"),
        (EVENT.format("details = '{}'"), "row 3 was changed"),
        (EVENT.format("account = ''"), "row 3 was changed"),
        (EVENT.format("digest = repeat('0', 64)"), "row 3 was changed"),
        ("UPDATE accounts_auditlink SET hash = repeat('0', 64) WHERE position = 3", "row 3 was changed"),
        ("UPDATE accounts_auditlink SET previous = repeat('0', 64) WHERE position = 3", "row 3 does not follow row 2"),
        ("DELETE FROM accounts_auditlink WHERE position = 3", "row 3 is missing"),
        ("DELETE FROM accounts_auditlink WHERE position = 1", "row 1 is missing"),
        ("DELETE FROM accounts_auditlink WHERE position = 5", "is in no row of the chain"),
    ],
)
def test_f91_a_row_that_its_owner_changed_or_deleted_is_named(
    five: list[AuditEvent], statement: str, said: str
) -> None:
    tamper(statement)
    assert said in (verify().problem or "")


def test_f91_a_rewritten_event_is_found_even_if_its_digest_was_made_anew(five: list[AuditEvent]) -> None:
    forged = AuditEvent.objects.get(link__position=3)
    forged.actor = "user:9"
    tamper(
        "UPDATE accounts_auditevent SET actor = %s, digest = %s WHERE id = %s::uuid",
        "user:9",
        digest_of(forged),
        str(forged.pk),
    )
    assert "row 3 was changed: its hash does not fit" in (verify().problem or "")


def test_f91_only_a_head_kept_elsewhere_shows_that_the_newest_rows_were_cut_off(five: list[AuditEvent]) -> None:
    head = verify().head
    assert verify(known_head=head).problem is None
    tamper("DELETE FROM accounts_auditlink WHERE position >= 4")
    tamper("DELETE FROM accounts_auditevent WHERE NOT EXISTS (SELECT FROM accounts_auditlink WHERE event_id = id)")
    assert verify().problem is None
    assert verify(known_head=head).problem == "row 4 is missing: the known head is row 5"
    record(Kind.KEY_MADE)
    record(Kind.KEY_MADE)
    link()
    assert verify(known_head=head).problem == "row 5 is not the one that the known head names"


def test_the_command_tells_the_head_and_fails_on_the_first_broken_row(
    five: list[AuditEvent], capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("audit_verify")
    said = capsys.readouterr().out
    assert said.startswith("5 rows hold; head 5:")
    call_command("audit_verify", head=said.split()[-1])
    tamper(EVENT.format("kind = 'key.revoked'"))
    with pytest.raises(CommandError, match=r"row 3 was changed.*the 2 rows before hold") as refused:
        call_command("audit_verify")
    assert refused.value.returncode == 1
    with pytest.raises(CommandError, match="expected POSITION:HASH"):
        call_command("audit_verify", head="latest")


def test_who_acts_and_the_request_are_written_down(db: None) -> None:
    with structlog.contextvars.bound_contextvars(request_id="request-1"), acting_as("command:rotate_keys"):
        event = record(Kind.KEY_MADE, account="AB1234")
        other = record(Kind.KEY_MADE, actor=Actor("user:1", "asha", "10.0.0.1"))
    assert (event.actor, event.account, event.request_id) == ("command:rotate_keys", "AB1234", "request-1")
    assert (other.actor, other.actor_label, other.address) == ("user:1", "asha", "10.0.0.1")
    assert record(Kind.KEY_MADE).actor == "service"


CANARY = "Zx81kdQQ77"


@pytest.mark.parametrize(
    "details",
    [
        {"password": CANARY},
        {"totp_seed": CANARY},
        {"reason": f"GET /x?access_token={CANARY} failed"},
        {"reason": f"Authorization: token simkey1:{CANARY}"},
        {"nested": {"deep": [{"api_secret": CANARY}]}},
        {"key": f"kts_test_abcd1234_{CANARY * 4}abc"},
        {"token": f"eyJhbGciOiJSUzI1NiJ9.{CANARY}.c2ln"},
        {"seed": CANARY * 4},
    ],
)
def test_f88_no_secret_is_written_down(db: None, details: dict[str, Any]) -> None:
    record(Kind.KEY_MADE, **details)
    with connection.cursor() as cursor:
        cursor.execute("SELECT e::text FROM accounts_auditevent e")
        assert CANARY not in str(cursor.fetchall())


def test_details_of_every_type_come_back_as_they_were_hashed(db: None) -> None:
    record(
        Kind.KEY_MADE,
        big=2**80,
        number=0.1,
        price=Decimal("1.50"),
        moment=datetime(2026, 1, 1, tzinfo=UTC),
        action=Action.READ,
        some={"b", "a"},
        text="nul \0 half \ud800 whole ₹",
        long="word " * 1000,
        deep={"a": {"b": {"c": {"d": {"e": 1}}}}},
        nothing=None,
    )
    link()
    assert verify().problem is None
    details = AuditEvent.objects.get().details
    assert (details["some"], details["price"], details["action"]) == (["a", "b"], "1.50", "read")
    assert len(details["long"]) == 500


def test_of_a_flood_of_refusals_few_are_written_and_the_rest_is_counted() -> None:
    now = 0.0
    bound = Bound(per_source=3, altogether=5, clock=lambda: now)
    assert [bound.admits("a") for _ in range(5)] == [0, 0, 0, None, None]
    assert bound.admits("b") == 2, "another source is not silenced, and tells how many were left out"
    assert [bound.admits("b"), bound.admits("c")] == [0, None], "but all of them together are"
    now = 60.0
    assert bound.admits("a") == 1


def test_a_refusal_is_written_with_where_it_came_from(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accounts.audit._refusals", Bound(per_source=2, altogether=9))
    for _ in range(5):
        record_refusal(Kind.KEY_REFUSED, actor=Actor("nobody", address="10.0.0.7"))
    record_refusal(Kind.KEY_REFUSED, actor=Actor("nobody", address="10.0.0.8"))
    found = AuditEvent.objects.order_by("at").values_list("address", "details")
    assert list(found) == [("10.0.0.7", {}), ("10.0.0.7", {}), ("10.0.0.8", {"left_out_before": 3})]
