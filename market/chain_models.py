"""The whole option chain, minute by minute: what nobody can fetch any more once its contracts have expired."""

from typing import Any, Final

import orjson
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

PRICES: Final = ("last_price", "bid", "ask")
GREEKS: Final = ("implied_volatility", "delta", "gamma", "theta_per_day", "vega_per_point", "rho_per_point")
OF_AN_OPTION: Final = (*PRICES, "oi", *GREEKS, "greeks_reason")
"""What is kept of each call and each put, in the order in which it is written and exported."""
SIDES: Final = {"CE": "call", "PE": "put"}


class RealField(models.FloatField[Any, Any]):
    """A number of four bytes, good for seven digits."""

    def db_type(self, connection: Any) -> str:
        return "real"


class NumbersField(ArrayField[Any, Any]):
    """An array of finite numbers and None that goes to the database as one text.

    Element by element, as an `ArrayField` prepares them, a chain would cost the stream's process five milliseconds.
    """

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if isinstance(value, list):
            return "{" + orjson.dumps(value)[1:-1].decode() + "}"
        return super().get_db_prep_value(value, connection, prepared)


def _doubles() -> NumbersField:
    return NumbersField(models.FloatField(null=True))


def _reals() -> NumbersField:
    return NumbersField(RealField(null=True))


def _whole() -> NumbersField:
    return NumbersField(models.BigIntegerField(null=True))


def _reasons() -> NumbersField:
    return NumbersField(
        models.SmallIntegerField(null=True),
        help_text="`GreeksReason` as a number: 0 where there are Greeks, null where there is no such option",
    )


class ChainSnapshot(models.Model):
    """One expiry's calls and puts at the end of one minute: arrays of one length, an element per strike, null where a
    number was not known.

    Prices are doubles, which give back every tick of every exchange as it was written, and compress to less than whole
    paise would. Volatility and Greeks have the units of docs/greeks.md and the decimals of the stream's lines.
    """

    underlying = models.CharField(max_length=64)
    expiry = models.DateField()
    minute = models.DateTimeField(help_text="Market time, the minute's beginning")
    source = models.CharField(max_length=16, help_text="live, simulated or replay: never mixed")
    underlying_source = models.CharField(max_length=16, help_text="What the options were priced on")
    underlying_price = models.FloatField(null=True)
    spot = models.FloatField(null=True)
    time_to_expiry = models.FloatField(null=True, help_text="Years of 365 days to the contracts' close")
    rate = models.FloatField(null=True)
    dividend_yield = models.FloatField(null=True)

    strike = NumbersField(models.FloatField())
    call_last_price = _doubles()
    call_bid = _doubles()
    call_ask = _doubles()
    call_oi = _whole()
    call_implied_volatility = _reals()
    call_delta = _reals()
    call_gamma = _reals()
    call_theta_per_day = _reals()
    call_vega_per_point = _reals()
    call_rho_per_point = _reals()
    call_greeks_reason = _reasons()
    put_last_price = _doubles()
    put_bid = _doubles()
    put_ask = _doubles()
    put_oi = _whole()
    put_implied_volatility = _reals()
    put_delta = _reals()
    put_gamma = _reals()
    put_theta_per_day = _reals()
    put_vega_per_point = _reals()
    put_rho_per_point = _reals()
    put_greeks_reason = _reasons()

    class Meta:
        ordering = ["-minute"]
        constraints = [
            models.UniqueConstraint(fields=["underlying", "expiry", "minute", "source"], name="market_chain_snapshot"),
            models.CheckConstraint(
                condition=Q(
                    *((f"{side}_{name}__len", F("strike__len")) for side in SIDES.values() for name in OF_AN_OPTION)
                ),
                name="market_chain_snapshot_lengths",
            ),
        ]
        indexes = [models.Index(fields=["minute"], name="market_chain_snapshot_age")]

    def __str__(self) -> str:
        return f"{self.underlying} {self.expiry} {self.minute:%Y-%m-%d %H:%M}"
