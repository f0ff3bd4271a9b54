"""The market's pages in the admin."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from market.instruments import import_instruments
from market.models import Instrument, InstrumentImport, TradingSession
from market.tests.dumps import Row, dump, index, option, stock
from market.tests.test_calendar_lists import LIST

pytestmark = pytest.mark.django_db

HOLIDAY = {"exchange": "NFO", "segment": "derivatives", "date": "2026-11-24", "kind": "holiday"}
MUHURAT = {"opens_at": "18:00", "closes_at": "19:00"}


@pytest.fixture
def rows() -> None:
    import_instruments([dump([index(), stock(), option(), Row("TCS", "x")])])
    TradingSession.objects.create(**HOLIDAY)
    TradingSession.objects.create(**HOLIDAY | {"date": "2026-11-08", "kind": "special"} | MUHURAT)


@pytest.mark.parametrize("model", ["instrument", "instrumentimport", "tradingsession"])
def test_every_list_and_page_opens(admin_client: Client, rows: None, model: str) -> None:
    models = {"instrument": Instrument, "instrumentimport": InstrumentImport, "tradingsession": TradingSession}
    row = models[model]._default_manager.first()
    assert row is not None
    assert admin_client.get(reverse(f"admin:market_{model}_changelist")).status_code == 200
    assert admin_client.get(reverse(f"admin:market_{model}_change", args=[row.pk])).status_code == 200


@pytest.mark.parametrize("text", ["nifty", "408065", "99999999999999999999999", "M&M"])
def test_instruments_can_be_searched_by_word_or_token(admin_client: Client, rows: None, text: str) -> None:
    assert admin_client.get(reverse("admin:market_instrument_changelist"), {"q": text}).status_code == 200


def test_instruments_come_from_the_broker_only(admin_client: Client, rows: None) -> None:
    assert admin_client.get(reverse("admin:market_instrument_add")).status_code == 403
    page = reverse("admin:market_instrument_change", args=[Instrument.objects.all()[0].pk])
    assert admin_client.post(page).status_code == 403


def test_a_day_corrected_by_a_person_is_marked_so(admin_client: Client, rows: None) -> None:
    session = TradingSession.objects.get(date="2026-11-24")
    form = HOLIDAY | MUHURAT | {"kind": "special", "source": "circular", "verified": "on"}
    admin_client.post(reverse("admin:market_tradingsession_change", args=[session.pk]), form)

    session.refresh_from_db()
    assert (session.kind, session.set_by_hand) == ("special", True)


def test_a_day_that_closes_before_it_opens_is_refused(admin_client: Client, rows: None) -> None:
    session = TradingSession.objects.get(date="2026-11-24")
    form = HOLIDAY | {"kind": "special", "opens_at": "19:00", "closes_at": "18:00"}
    answer = admin_client.post(reverse("admin:market_tradingsession_change", args=[session.pk]), form)
    assert "A holiday has no hours; any other day opens before it closes." in answer.content.decode()


def test_days_can_be_marked_as_checked(admin_client: Client, rows: None) -> None:
    chosen = {"action": "mark_verified", "_selected_action": [row.pk for row in TradingSession.objects.all()]}
    admin_client.post(reverse("admin:market_tradingsession_changelist"), chosen)
    assert set(TradingSession.objects.values_list("verified", "set_by_hand")) == {(True, True)}


LIST_PAGE = "admin:market_tradingsession_import_list"


def upload(client: Client, text: str, *exchanges: str) -> Any:
    file = SimpleUploadedFile("nse-2027.csv", text.encode())
    return client.post(reverse(LIST_PAGE), {"file": file, "exchanges": list(exchanges)}, follow=True)


def test_an_exchange_s_list_can_be_uploaded(admin_client: Client) -> None:
    assert admin_client.get(reverse(LIST_PAGE)).status_code == 200
    page = upload(admin_client, LIST, "NFO", "NSE").content.decode()
    assert "Imported 2027 for NFO, NSE: 10 holidays, 522 days written." in page
    assert TradingSession.objects.filter(exchange="NFO", kind="holiday", from_list="nse-2027.csv").count() == 5


@pytest.mark.parametrize(
    ("text", "exchanges", "said"),
    [
        ("Date\n2027-01-26\n", ["NFO"], "Nothing was imported: it names 1 holidays"),
        (LIST, [], "This field is required"),
        (LIST, ["NYSE"], "Select a valid choice"),
        ("x" * (1 << 20 | 1), ["NFO"], "larger than 1,024 KiB"),
    ],
)
def test_a_list_that_cannot_be_used_is_said_to_be_so(
    admin_client: Client, text: str, exchanges: list[str], said: str
) -> None:
    assert said in upload(admin_client, text, *exchanges).content.decode()
    assert not TradingSession.objects.exists()


def test_who_may_not_change_sessions_may_not_import_any(client: Client) -> None:
    client.force_login(User.objects.create_user("viewer", is_staff=True))
    assert client.get(reverse(LIST_PAGE)).status_code in {302, 403}
    assert not TradingSession.objects.exists()
