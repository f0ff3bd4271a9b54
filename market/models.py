"""What can be traded, and when."""

from collections.abc import Iterable
from datetime import date
from typing import Any, Self

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models import Count, F, Max, Q
from django.db.models.functions import Upper

from market import candle_models as candle_models  # Django looks for an app's models here
from market import chain_models as chain_models
from market import gap_models as gap_models
from market.pricing_terms import OptionPrice, UnderlyingSource
from market.underlyings import INDEX_SPOTS, spot_symbol

OPTION_TYPES = ("CE", "PE")
UNDERLYING_SOURCES = [
    (UnderlyingSource.PARITY_FORWARD.value, "The forward implied by put–call parity (Black-76)"),
    (UnderlyingSource.FUTURE.value, "The future of the same expiry (Black-76)"),
    (UnderlyingSource.SPOT.value, "The spot (Black–Scholes–Merton)"),
]
OPTION_PRICES = [
    (OptionPrice.MIDDLE.value, "The middle of bid and ask, else the last trade"),
    (OptionPrice.LAST_PRICE.value, "The last trade"),
]


class InstrumentQuerySet(models.QuerySet["Instrument"]):
    """The questions that are asked of the instrument table."""

    def active(self) -> Self:
        """What the broker's latest dump lists."""
        return self.filter(is_active=True)

    def by_symbol(self, symbol: str) -> "Instrument":
        """The instrument called `exchange:tradingsymbol`, active or not.

        Raises
        ------
        Instrument.DoesNotExist
            If there is none, or `symbol` has no colon.
        """
        exchange, _, tradingsymbol = symbol.partition(":")
        return self.get(exchange=exchange, tradingsymbol=tradingsymbol)

    def by_symbols(self, symbols: Iterable[str]) -> dict[str, "Instrument"]:
        """Those of `symbols` (`exchange:tradingsymbol`) that exist, by symbol, in one query."""
        wanted = set(symbols)
        parts = [symbol.partition(":") for symbol in wanted]
        rows = self.filter(exchange__in={part[0] for part in parts}, tradingsymbol__in={part[2] for part in parts})
        return {row.symbol: row for row in rows if row.symbol in wanted}

    def by_token(self, instrument_token: int) -> "Instrument":
        """The instrument that bears the token now. Tokens are recycled, so retired bearers do not count.

        Raises
        ------
        Instrument.DoesNotExist
            If no active instrument bears it.
        """
        found = self.active().filter(instrument_token=instrument_token).order_by("-first_seen", "-pk").first()
        if found is None:
            raise self.model.DoesNotExist(f"no active instrument has the token {instrument_token}")
        return found

    def by_tokens(self, instrument_tokens: Iterable[int]) -> dict[int, "Instrument"]:
        """Those of the tokens that an active instrument bears, in one query."""
        rows = self.active().filter(instrument_token__in=set(instrument_tokens)).order_by("first_seen", "pk")
        return {row.instrument_token: row for row in rows}

    def options(self, name: str) -> Self:
        """An underlying's options, all expiries."""
        return self.active().filter(name=name, instrument_type__in=OPTION_TYPES)

    def chain(self, name: str, expiry: date) -> Self:
        """One underlying's options of one expiry, in strike order, the call before the put."""
        return self.options(name).filter(expiry=expiry).order_by("strike", "instrument_type")

    def futures(self, name: str) -> Self:
        """An underlying's futures, nearest first."""
        return self.active().filter(name=name, instrument_type="FUT").order_by("expiry")

    def expiries(self, name: str, *, since: date | None = None) -> list[date]:
        """The expiry dates of an underlying's options, nearest first; with `since`, none before it.

        Contracts stay listed until the first dump after their expiry: whoever wants only living ones passes today.
        """
        rows = self.options(name)
        if since is not None:
            rows = rows.filter(expiry__gte=since)
        dates = rows.order_by("expiry").values_list("expiry", flat=True).distinct()
        return [day for day in dates if day is not None]

    def chains(self, name: str, *, since: date) -> list[dict[str, Any]]:
        """An underlying's living expiries, nearest first: `expiry`, `exchange`, `lot_size`, strikes and contracts."""
        rows = self.options(name).filter(expiry__gte=since).order_by("expiry", "exchange")
        counted = rows.values("expiry", "exchange").annotate(
            lot_size=Max("lot_size"), strikes=Count("strike", distinct=True), contracts=Count("pk")
        )
        return [dict(row) for row in counted]

    def underlying_of(self, name: str, *, exchange: str = "NFO") -> "Instrument | None":
        """The index or stock under the contracts called `name` on `exchange`; None if there is no such price."""
        spot = spot_symbol(name, exchange)
        if spot is None:
            return None
        return self.active().filter(exchange=spot.exchange, tradingsymbol=spot.tradingsymbol).first()


class Instrument(models.Model):
    """One row of the broker's instrument dump. Its identity is `exchange:tradingsymbol`."""

    exchange = models.CharField(max_length=16)
    tradingsymbol = models.CharField(max_length=64)
    # The exchange recycles tokens once a contract expires, hence not unique.
    instrument_token = models.PositiveBigIntegerField(db_index=True)
    exchange_token = models.CharField(max_length=32, blank=True)
    name = models.CharField(max_length=128, blank=True, help_text="The underlying's name for derivatives")
    expiry = models.DateField(null=True, blank=True)
    strike = models.DecimalField(max_digits=14, decimal_places=4, default=0, help_text="0 unless an option")
    tick_size = models.DecimalField(max_digits=14, decimal_places=4, default=0, help_text="0 for an index")
    lot_size = models.PositiveIntegerField(default=0, help_text="0 for an index")
    instrument_type = models.CharField(max_length=8, help_text="EQ (indices too), FUT, CE or PE")
    segment = models.CharField(max_length=16, help_text="The broker's word: NSE, INDICES, NFO-OPT, …")
    is_active = models.BooleanField(default=True, help_text="Listed in the latest dump")
    first_seen = models.DateField(help_text="Date (IST) of the first dump that listed it")
    last_seen = models.DateField(help_text="Date (IST) of the latest dump that listed it")

    objects = InstrumentQuerySet.as_manager()

    class Meta:
        ordering = ["exchange", "tradingsymbol"]
        constraints = [
            models.UniqueConstraint(fields=["exchange", "tradingsymbol"], name="market_instrument_symbol"),
            models.CheckConstraint(
                condition=~Q(instrument_type__in=OPTION_TYPES) | Q(strike__gt=0, expiry__isnull=False),
                name="market_instrument_option_terms",
            ),
        ]
        indexes = [
            models.Index(
                fields=["name", "expiry", "strike"], condition=Q(is_active=True), name="market_instrument_chain"
            ),
            # For what is asked of expired contracts, which are not in the one above.
            models.Index(fields=["name", "expiry"], condition=Q(expiry__isnull=False), name="market_instrument_family"),
            # For `market.instrument_search`: parts of symbols and names; then the same of what is no option. The limit
            # (kB) is of what is not sorted in yet: every search has to read that as well.
            GinIndex(
                OpClass(Upper("tradingsymbol"), name="gin_trgm_ops"),
                OpClass(Upper("name"), name="gin_trgm_ops"),
                name="market_instrument_words",
                gin_pending_list_limit=512,
            ),
            GinIndex(
                OpClass(Upper("tradingsymbol"), name="gin_trgm_ops"),
                OpClass(Upper("name"), name="gin_trgm_ops"),
                name="market_instrument_leading",
                gin_pending_list_limit=512,
                condition=Q(instrument_type__in=("EQ", "FUT")),
            ),
        ]

    def __str__(self) -> str:
        return self.symbol

    @property
    def symbol(self) -> str:
        """`exchange:tradingsymbol`, as the broker's quote calls take it."""
        return f"{self.exchange}:{self.tradingsymbol}"

    @property
    def is_option(self) -> bool:
        return self.instrument_type in OPTION_TYPES

    @property
    def is_index(self) -> bool:
        return self.segment == "INDICES"

    @property
    def is_index_derivative(self) -> bool:
        return self.expiry is not None and self.name in INDEX_SPOTS


class InstrumentImport(models.Model):
    """One attempt to take over the broker's dump, and what came of it."""

    class Outcome(models.TextChoices):
        RUNNING = "running"
        COMPLETED = "completed"
        REFUSED = "refused", "Refused: nothing was changed"
        FAILED = "failed", "Failed: nothing was changed"

    account = models.CharField(max_length=64, blank=True, help_text="Which account fetched it; empty for a file")
    source = models.CharField(max_length=255, blank=True, help_text="The broker's address or the file's name")
    outcome = models.CharField(max_length=16, choices=Outcome, default=Outcome.RUNNING)
    reason = models.TextField(blank=True, help_text="Why it was refused or failed")
    started_at = models.DateTimeField(auto_now_add=True, help_text="System time")
    market_time = models.DateTimeField(null=True, help_text="Market time at the start: which day's dump it is")
    duration_seconds = models.FloatField(default=0)
    rows = models.PositiveIntegerField(default=0, help_text="Rows that were taken over")
    added = models.PositiveIntegerField(default=0)
    changed = models.PositiveIntegerField(default=0, help_text="Terms changed, or listed again")
    retired = models.PositiveIntegerField(default=0, help_text="No longer in the dump")
    rejected = models.PositiveIntegerField(default=0, help_text="Rows that could not be read")
    problems = models.JSONField(default=list, blank=True, help_text="The first rejected rows: line number and reason")

    class Meta:
        ordering = ["-started_at"]
        indexes = [models.Index(fields=["-started_at"], name="market_import_newest")]

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M} {self.outcome}: {self.rows} rows"


class TradingSession(models.Model):
    """What one market does on one date. A weekend needs no row; a weekday without one is unknown, not closed."""

    class Kind(models.TextChoices):
        REGULAR = "regular"
        HOLIDAY = "holiday"
        SPECIAL = "special", "Special hours (Muhurat, a weekend session, a shortened day)"
        EVENING_ONLY = "evening_only", "Evening only (MCX on most holidays)"

    class Exchange(models.TextChoices):
        NSE = "NSE", "NSE"
        BSE = "BSE", "BSE"
        NFO = "NFO", "NFO"
        BFO = "BFO", "BFO"
        CDS = "CDS", "CDS"
        BCD = "BCD", "BCD"
        MCX = "MCX", "MCX"

    class Segment(models.TextChoices):
        EQUITY = "equity"
        DERIVATIVES = "derivatives"
        CURRENCY = "currency"
        COMMODITY = "commodity"

    exchange = models.CharField(max_length=16, choices=Exchange)
    segment = models.CharField(max_length=16, choices=Segment)
    date = models.DateField(db_index=True)
    kind = models.CharField(max_length=16, choices=Kind)
    opens_at = models.TimeField(null=True, blank=True, help_text="IST; empty on a holiday")
    closes_at = models.TimeField(null=True, blank=True, help_text="IST; the first moment that is closed again")
    verified = models.BooleanField(default=False, help_text="Checked against the exchange's own list")
    source = models.CharField(max_length=255, blank=True, help_text="Where this is known from")
    set_by_hand = models.BooleanField(default=False, help_text="Entered here: neither files nor lists change it")
    from_list = models.CharField(
        max_length=128, blank=True, help_text="The exchange's list that was imported: `load_calendar` leaves it alone"
    )

    class Meta:
        ordering = ["date", "exchange", "segment"]
        constraints = [
            models.UniqueConstraint(fields=["exchange", "segment", "date"], name="market_session_day"),
            models.CheckConstraint(
                condition=Q(kind="holiday", opens_at__isnull=True, closes_at__isnull=True)
                | (
                    ~Q(kind="holiday") & Q(opens_at__isnull=False, closes_at__isnull=False, opens_at__lt=F("closes_at"))
                ),
                name="market_session_hours",
                violation_error_message="A holiday has no hours; any other day opens before it closes.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.exchange} {self.segment} {self.date} {self.kind}"


class UnderlyingPricing(models.Model):
    """How options on one underlying are priced, where that is not what the settings say. Empty means: as they say."""

    underlying = models.CharField(max_length=64, unique=True, help_text="The name that contracts use: NIFTY")
    rate = models.DecimalField(
        max_digits=6, decimal_places=5, null=True, blank=True, help_text="Per year as a fraction: 0.065 is 6.5 %"
    )
    dividend_yield = models.DecimalField(
        max_digits=6, decimal_places=5, null=True, blank=True, help_text="Per year as a fraction"
    )
    underlying_source = models.CharField(max_length=16, choices=UNDERLYING_SOURCES, blank=True)
    option_price = models.CharField(max_length=16, choices=OPTION_PRICES, blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["underlying"]
        verbose_name_plural = "pricing of underlyings"
        constraints = [
            models.CheckConstraint(
                condition=(Q(rate__isnull=True) | Q(rate__gte=-1, rate__lte=1))
                & (Q(dividend_yield__isnull=True) | Q(dividend_yield__gte=-1, dividend_yield__lte=1)),
                name="market_underlying_pricing_rates",
                violation_error_message="Rates are fractions per year: 6.5 % is 0.065.",
            ),
        ]

    def __str__(self) -> str:
        return self.underlying


class ChainMinute(models.Model):
    """What one expiry's chain said at the end of one minute: the history behind IV rank and changes of open interest.

    Computed by the stream from live prices (units: docs/greeks.md); null where a number was not known.
    """

    underlying = models.CharField(max_length=64)
    expiry = models.DateField()
    minute = models.DateTimeField(help_text="Market time, the minute's beginning")
    source = models.CharField(max_length=16, help_text="live, simulated or replay: never mixed")
    time_to_expiry = models.FloatField(null=True, help_text="Years of 365 days to the contracts' close")
    spot = models.FloatField(null=True)
    forward = models.FloatField(null=True)
    atm_strike = models.FloatField(null=True)
    atm_implied_volatility = models.FloatField(null=True)
    skew_25_delta = models.FloatField(null=True, help_text="Put less call, as a fraction")
    butterfly_25_delta = models.FloatField(null=True, help_text="As a fraction")
    straddle_price = models.FloatField(null=True)
    call_oi = models.FloatField(null=True)
    put_oi = models.FloatField(null=True)
    call_volume = models.FloatField(null=True)
    put_volume = models.FloatField(null=True)
    max_pain = models.FloatField(null=True)
    net_gamma_exposure = models.FloatField(null=True, help_text="Rupees per 1 % of the underlying")
    gamma_flip = models.FloatField(null=True)

    class Meta:
        ordering = ["-minute"]
        constraints = [
            models.UniqueConstraint(fields=["underlying", "expiry", "minute", "source"], name="market_chain_minute"),
        ]
        indexes = [models.Index(fields=["minute"], name="market_chain_minute_age")]

    def __str__(self) -> str:
        return f"{self.underlying} {self.expiry} {self.minute:%Y-%m-%d %H:%M}"
