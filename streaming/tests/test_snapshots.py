import json
from datetime import date
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from greeks import black76, black_scholes
from market.lines import as_json, decode
from market.pricing_terms import PricingTerms, UnderlyingSource
from streaming.contracts import CALL, CASH, FUTURE, PUT, Contract, Instruments
from streaming.outbox import read_lines
from streaming.pricing import Moment, PricingSettings
from streaming.snapshots import PartEncoder, Stamp
from streaming.tests import chain, frames
from streaming.tests.chain import FUTURE_TOKEN, NOW, RATE, option_token, slot, tick
from streaming.tests.ws_schemas import check
from streaming.ticks import TickTable

OPTIONS, UNDERLYING = "nifty:2026-12-01", "nifty:underlying"
STAMP = Stamp(source="simulated", feed_state="live", epoch=7, seq=123, sent_at=1_795_839_300.5)
MOMENT = Moment(market_time=NOW, monotonic=1_000.120)


def encoder(source: UnderlyingSource = UnderlyingSource.PARITY_FORWARD) -> PartEncoder:
    table = chain.table()
    tick(table, *chain.packets())
    return PartEncoder(table, PricingSettings(PricingTerms(rate=RATE, underlying_source=source)))


def snapshot(of: PartEncoder, part: str = OPTIONS) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(as_json(of.encode_snapshot([part], MOMENT, STAMP)[part].data))
    return line


def rows(of: PartEncoder, slots: NDArray[np.intp]) -> dict[str, NDArray[np.intp]]:
    return of.table.instruments.parts_of(slots)


@pytest.mark.parametrize("source", UnderlyingSource)
@pytest.mark.parametrize("part", [OPTIONS, UNDERLYING])
def test_lines_follow_their_schema(source: UnderlyingSource, part: str) -> None:
    check("part-line", snapshot(encoder(source), part))


def test_a_part_that_never_ticked_is_all_null_and_follows_the_schema() -> None:
    empty = PartEncoder(chain.table(), PricingSettings())
    line = snapshot(empty)
    check("part-line", line)
    assert line["pricing"]["underlying_price"] is None
    assert set(line["columns"]["last_price"] + line["columns"]["oi"] + line["columns"]["delta"]) == {None}
    assert set(line["columns"]["greeks_reason"]) == {"no_price"}


def test_the_head_is_found_without_reading_the_columns() -> None:
    data = encoder().encode_snapshot([OPTIONS], MOMENT, STAMP)[OPTIONS].data
    (found,) = read_lines(data)
    assert (found.part, found.version) == (OPTIONS, (7, 123))


@pytest.mark.parametrize("source", [UnderlyingSource.PARITY_FORWARD, UnderlyingSource.SPOT])
def test_a_snapshots_greeks_follow_from_its_own_inputs(source: UnderlyingSource) -> None:
    line = snapshot(encoder(source))
    pricing, columns = line["pricing"], {name: np.array(values) for name, values in line["columns"].items()}
    model = {"black-76": black76, "black-scholes-merton": black_scholes}[pricing["model"]]
    terms = pricing["underlying_price"], columns["strike"], pricing["time_to_expiry"], pricing["rate"]
    middle = (columns["bid"] + columns["ask"]) / 2
    volatility = model.implied_volatility(middle, *terms, columns["is_call"]).volatility
    greeks = model.greeks(*terms, volatility, columns["is_call"])
    assert columns["implied_volatility"] == pytest.approx(volatility, abs=1e-6, nan_ok=True)
    for name, decimals in (
        ("delta", 6),
        ("gamma", 10),
        ("theta_per_day", 4),
        ("vega_per_point", 4),
        ("rho_per_point", 4),
    ):
        assert columns[name] == pytest.approx(getattr(greeks, name), abs=10**-decimals), name


def test_a_snapshot_has_every_row_and_an_update_those_that_changed() -> None:
    of = encoder()
    applied = tick(of.table, chain.option_packet(25_050.0, PUT, time=NOW + 1), at=1_000.1)
    (line,) = of.encode_flush(rows(of, applied.slots), (), MOMENT, STAMP).values()
    update = json.loads(as_json(line.data))
    check("part-line", update)
    assert (update["kind"], update["part"]) == ("update", OPTIONS)
    assert update["columns"]["instrument_token"] == [option_token(25_050.0, PUT)]
    assert len(snapshot(of)["columns"]["instrument_token"]) == 10


def test_an_update_of_several_parts_has_one_line_each() -> None:
    of = encoder()
    lines = of.encode_flush(rows(of, np.arange(len(of.table))), (), MOMENT, STAMP)
    assert set(lines) == {OPTIONS, UNDERLYING}
    tokens = {part: json.loads(as_json(line.data))["columns"]["instrument_token"] for part, line in lines.items()}
    assert set(tokens[UNDERLYING]) == {chain.INDEX_TOKEN, FUTURE_TOKEN}
    assert len(tokens[OPTIONS]) == 10


def test_nothing_changed_is_nothing_to_send() -> None:
    assert encoder().encode_flush({}, (), MOMENT, STAMP) == {}


def test_values_come_as_received() -> None:
    columns = snapshot(encoder(), UNDERLYING)["columns"]
    assert columns["tradingsymbol"] == ["NIFTY 50", "NIFTY26DECFUT"]
    assert columns["instrument_type"] == ["EQ", "FUT"]
    assert columns["expiry"] == [None, "2026-12-29"]
    assert columns["last_price"] == [25_000.0, 25_150.0]
    assert columns["change_percent"] == [0.4016, 0.6]
    assert columns["exchange_timestamp"] == [NOW, NOW]
    assert columns["age_ms"] == [120, 120]


def test_what_is_missing_is_null_and_never_zero() -> None:
    columns = snapshot(encoder(), UNDERLYING)["columns"]
    assert columns["volume_traded"] == [None, 0]  # an index has none; the future's is known, and zero
    assert columns["bid"] == columns["bid_quantity"] == [None, None]
    assert columns["last_trade_time"] == [None, None]


def test_an_untraded_option_has_no_price_and_no_greeks_but_a_reason() -> None:
    of = PartEncoder(chain.table(), PricingSettings(PricingTerms(rate=chain.RATE)))
    token = option_token(25_000.0, CALL)
    tick(of.table, *chain.underlying_packets(), frames.full(token, 0, exchange_timestamp=NOW + 1))
    line = snapshot(of)
    row = line["columns"]["instrument_token"].index(token)
    shown = {
        name: line["columns"][name][row]
        for name in ("last_price", "delta", "implied_volatility", "greeks_reason", "flags")
    }
    assert shown == {
        "last_price": None,
        "delta": None,
        "implied_volatility": None,
        "greeks_reason": "untraded",
        "flags": 1,
    }


def test_the_encoder_follows_a_change_of_instruments() -> None:
    of = encoder()
    instruments = of.table.instruments
    of.table.replace_instruments(type(instruments)(c for c in chain.contracts() if c.strike != 25_000.0))
    of.follow()
    line = snapshot(of)
    assert option_token(25_000.0, CALL) not in line["columns"]["instrument_token"]
    assert line["columns"]["last_price"][0] == of.table["last_price"][slot(of.table, option_token(24_900.0, CALL))]


def test_a_flush_sends_some_parts_whole_and_of_the_others_what_changed() -> None:
    of = encoder()
    lines = of.encode_flush(rows(of, np.array([len(of.table) - 1])), {UNDERLYING}, MOMENT, STAMP)
    sent = {part: json.loads(as_json(line.data)) for part, line in lines.items()}
    kinds = {part: (line["kind"], len(line["columns"]["flags"])) for part, line in sent.items()}
    assert kinds == {UNDERLYING: ("snapshot", 2), OPTIONS: ("update", 1)}
    assert {part: line.is_whole for part, line in lines.items()} == {UNDERLYING: True, OPTIONS: False}
    assert lines[UNDERLYING] == of.encode_snapshot([UNDERLYING], MOMENT, STAMP)[UNDERLYING]


def test_a_part_that_is_priced_on_something_else_than_before_is_sent_whole() -> None:
    of = PartEncoder(chain.table(), PricingSettings(PricingTerms(rate=RATE)))
    tick(of.table, frames.index(chain.INDEX_TOKEN, 2_500_000))
    assert snapshot(of)["pricing"]["underlying_source"] == "spot"  # no book has come yet
    tick(of.table, *chain.packets())
    one = np.array([slot(of.table, option_token(25_000.0, CALL))])
    (line,) = of.encode_flush(rows(of, one), (), MOMENT, STAMP).values()
    sent = json.loads(as_json(line.data))
    assert (line.is_whole, sent["kind"], len(sent["columns"]["flags"])) == (True, "snapshot", 10)
    assert sent["pricing"]["underlying_source"] == "parity-forward"
    (line,) = of.encode_flush(rows(of, one), (), MOMENT, STAMP).values()
    assert not line.is_whole


USDINR = [
    Contract(
        frames.token(number, frames.CDS), f"USDINR26D{number}", "USDINR", kind, chain.EXPIRY, 83.25, chain.CLOSES_AT
    )
    for number, kind in ((1, CALL), (2, PUT))
]


def lines_of(contracts: list[Contract], *packets: bytes, rate: float = RATE) -> dict[str, bytes]:
    table = TickTable(Instruments(contracts))
    tick(table, *packets)
    of = PartEncoder(table, PricingSettings(PricingTerms(rate=rate)))
    lines = {name: line.data for name, line in of.encode_snapshot(table.instruments.parts, MOMENT, STAMP).items()}
    for data in lines.values():
        check("part-line", json.loads(as_json(data)))
    return lines


def test_prices_go_as_the_broker_sent_them_with_the_decimals_of_their_segment() -> None:
    packets = [frames.full(contract.instrument_token, 4_512_500 + place) for place, contract in enumerate(USDINR)]
    lines = lines_of([*chain.contracts(), *USDINR], *packets, *chain.packets())
    [currency] = (data for name, data in lines.items() if name.startswith("usdinr"))
    columns = decode(currency)["columns"]
    assert columns["last_price"] == columns["high"] == [0.45125, 0.4512501]
    assert columns["strike"] == [83.25, 83.25]
    assert b'["last_price","i4",7]' in currency
    assert b'["strike","i4",7]' in currency
    assert b'["last_price","i4",2]' in lines[OPTIONS]
    assert decode(lines[UNDERLYING])["columns"]["last_price"] == [25_000.0, 25_150.0]


def test_a_part_of_two_segments_has_doubles_for_prices() -> None:
    cash = Contract(frames.token(3, frames.NSE), "USDINR", "USDINR", CASH)
    future = Contract(frames.token(4, frames.CDS), "USDINR26DECFUT", "USDINR", FUTURE, date(2026, 12, 29))
    packets = frames.quote(cash.instrument_token, 8_325), frames.quote(future.instrument_token, 832_712_345)
    line = lines_of([cash, future], *packets)["usdinr:underlying"]
    columns = decode(line)["columns"]
    assert columns["last_price"] == columns["low"] == [83.25, 83.2712345]
    assert columns["bid"] == columns["bid_quantity"] == [None, None]
    assert b'["last_price","f8"]' in line


@pytest.mark.parametrize("strike", [25_000.125, 30_000_000.0])
def test_a_strike_that_the_broker_could_not_send_arrives_as_it_is(strike: float) -> None:
    odd = Contract(frames.token(9_000), "NIFTY26D01ODD", "NIFTY", CALL, chain.EXPIRY, strike, chain.CLOSES_AT)
    line = lines_of([*chain.contracts(), odd], *chain.packets())[OPTIONS]
    columns = decode(line)["columns"]
    assert columns["strike"] == sorted([*np.repeat(chain.STRIKES, 2).tolist(), strike])
    assert columns["last_price"][0] == chain.paise_of(24_900.0, CALL) / 100
    assert b'["strike","f8"]' in line


def test_a_greek_that_is_too_large_for_its_scale_arrives_as_it_is() -> None:
    forward, years, rate, volatility = 20_000_000.0, 10.0, 0.0, 0.2
    option = Contract(frames.token(5), "BIG", "BIG", CALL, date(2036, 11, 25), forward, NOW + years * 365 * 86_400)
    future = Contract(frames.token(6), "BIGFUT", "BIG", FUTURE, date(2036, 11, 25))
    price = float(black76.price(forward, forward, years, rate, volatility, np.True_))
    packets = [
        frames.full(future.instrument_token, round(forward * 100), exchange_timestamp=NOW),
        frames.full(option.instrument_token, round(price * 100), exchange_timestamp=NOW, last_trade_time=NOW),
    ]
    line = lines_of([option, future], *packets, rate=rate)["big:2036-11-25"]
    columns = decode(line)["columns"]
    greeks = black76.greeks(forward, forward, years, rate, volatility, np.True_)
    assert abs(greeks.rho_per_point) * 1e4 > 2**31
    assert columns["rho_per_point"] == [pytest.approx(float(greeks.rho_per_point), rel=1e-6)]
    assert columns["last_price"] == [round(price, 2)]
    assert b'["rho_per_point","f8"]' in line
