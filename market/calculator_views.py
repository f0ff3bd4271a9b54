"""The calculators over HTTP: Greeks of rows that the request brings, and what a position comes to."""

from datetime import date
from types import SimpleNamespace
from typing import Any

from django.conf import settings
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import clock
from accounts.permissions import MayRead
from greeks.expiry import years_between
from market import calendar
from market.calculator_serializers import (
    GreeksAnswerSerializer,
    GreeksRequestSerializer,
    PayoffAnswerSerializer,
    PayoffRequestSerializer,
)
from market.chain_serializers import NUMBERS
from market.exceptions import CalendarMissing
from market.greeks_rows import MOST_ROWS, answers, read_rows
from market.pricing_rules import Model
from market.strategies import evaluate
from market.strategy_legs import assemble

MIB = 1024 * 1024


class GreeksView(APIView):
    """Greeks and implied volatilities of options that the request brings along."""

    permission_classes = [MayRead]
    # Five thousand rows of eight keys; read by tickerproject's parser.
    largest_body_bytes = MIB
    most_keys = 10 * MOST_ROWS

    @extend_schema(
        operation_id="greeks_create",
        request=GreeksRequestSerializer,
        responses=GreeksAnswerSerializer,
        description=f"Price → implied volatility and Greeks; volatility → price and Greeks. At most {MOST_ROWS} rows "
        f"and 1 MiB. {NUMBERS} A row that makes no sense is a 400 whose details name its index and field "
        "(the first hundred).",
        examples=[
            OpenApiExample(
                "A price and a volatility",
                value={
                    "model": "black-76",
                    "rate": 0.065,
                    "rows": [
                        {
                            "underlying_price": 24530.5,
                            "strike": 24500,
                            "instrument_type": "CE",
                            "time_to_expiry": 0.02,
                            "price": 210.5,
                        },
                        {
                            "underlying_price": 24530.5,
                            "strike": 24500,
                            "instrument_type": "PE",
                            "time_to_expiry": 0.02,
                            "volatility": 0.13,
                        },
                    ],
                },
                request_only=True,
            ),
            OpenApiExample(
                "Their answer",
                value={
                    "model": "black-76",
                    "rows": [
                        {
                            "price": 210.5,
                            "implied_volatility": 0.141092,
                            "delta": 0.528143,
                            "gamma": 0.000812,
                            "theta_per_day": -13.284853,
                            "vega_per_point": 13.785766,
                            "rho_per_point": -0.0421,
                            "time_to_expiry": 0.02,
                            "greeks_reason": None,
                        },
                        {
                            "price": 164.750915,
                            "implied_volatility": 0.13,
                            "delta": -0.468756,
                            "gamma": 0.000881,
                            "theta_per_day": -12.241506,
                            "vega_per_point": 13.781103,
                            "rho_per_point": -0.03295,
                            "time_to_expiry": 0.02,
                            "greeks_reason": None,
                        },
                    ],
                },
                response_only=True,
            ),
        ],
    )
    def post(self, request: Request) -> Response:
        form = GreeksRequestSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        asked: dict[str, Any] = form.validated_data
        rows = read_rows(
            asked["rows"],
            rate=asked.get("rate", settings.GREEKS_RATE),
            dividend_yield=asked.get("dividend_yield", settings.GREEKS_DIVIDEND_YIELD),
            years_until=years_until,
        )
        model = Model(asked["model"])
        return Response({"model": model.value, "rows": answers(rows, model, second_order=asked["second_order"])})


class PayoffView(APIView):
    """What a position of several legs comes to."""

    permission_classes = [MayRead]

    @extend_schema(
        operation_id="strategies_payoff_create",
        request=PayoffRequestSerializer,
        responses=PayoffAnswerSerializer,
        description="Payoff at the nearest expiry and profit before it, break-evens, the most and the least, the "
        f"probability of profit, and Greeks in rupees, by leg and net. {NUMBERS} A leg that makes no sense, or whose "
        "price is not known, is a 400 whose details name its index and field.",
        examples=[
            OpenApiExample(
                "A call spread on explicit terms",
                value={
                    "spot": 24500,
                    "rate": 0.065,
                    "legs": [
                        {
                            "instrument_type": "CE",
                            "strike": 24500,
                            "time_to_expiry": 0.02,
                            "quantity": 65,
                            "entry_price": 200,
                            "implied_volatility": 0.13,
                        },
                        {
                            "instrument_type": "CE",
                            "strike": 24700,
                            "time_to_expiry": 0.02,
                            "quantity": -65,
                            "entry_price": 110,
                            "implied_volatility": 0.125,
                        },
                    ],
                    "days_ahead": [0, 3],
                    "volatility_shifts": [-0.02, 0, 0.02],
                },
                request_only=True,
            ),
            OpenApiExample(
                "A listed straddle at current prices",
                value={
                    "legs": [
                        {"instrument": "NFO:NIFTY26D0124500CE", "quantity": -65},
                        {"instrument": "NFO:NIFTY26D0124500PE", "quantity": -65},
                    ]
                },
                request_only=True,
            ),
        ],
    )
    def post(self, request: Request) -> Response:
        asked = PayoffRequestSerializer(data=request.data).checked()
        return Response(evaluate(assemble(asked, years_until), asked))


def years_until(exchange: str, expiry: date) -> float:
    """Years from now, in market time, to the moment at which the exchange's contracts of that expiry end.

    Raises
    ------
    LookupError
        In words, if the calendar does not know it.
    """
    try:
        closes_at = calendar.close_of(SimpleNamespace(exchange=exchange, expiry=expiry))
    except CalendarMissing as exc:
        raise LookupError(f"The close of {exchange} on {expiry} is not known.") from exc
    return float(years_between(clock.now().timestamp(), closes_at.timestamp()))
