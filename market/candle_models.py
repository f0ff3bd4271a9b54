"""What instruments traded at, minute by minute and day by day, and for which days that is known.

Candles are statistics, not money that changes hands: prices are doubles, which give back every tick of every exchange
as it was written.
"""

from typing import Any, Final

from django.db import models
from django.db.models import F, Q


class DaysField(models.Field[Any, Any]):
    """A set of dates, as PostgreSQL's `datemultirange`: union and difference are the database's own."""

    description = "A set of dates"

    def db_type(self, connection: Any) -> str:
        return "datemultirange"


class MinuteBar(models.Model):
    """One instrument's one minute. The table is split by months (`market.bar_partitions`) and written by COPY
    (`market.bar_store`); a minute without a trade has no row.
    """

    class Origin(models.TextChoices):
        LIVE = "live", "Live: made of the stream's ticks"
        HISTORY = "history", "History: the broker's own candle"
        REPAIRED = "repaired", "Repaired: the broker's candle for a minute that the stream missed"

    pk = models.CompositePrimaryKey("instrument_id", "minute")
    instrument = models.ForeignKey("market.Instrument", on_delete=models.PROTECT, related_name="+")
    minute = models.DateTimeField(help_text="The minute's beginning")
    open = models.FloatField()
    high = models.FloatField()
    low = models.FloatField()
    close = models.FloatField()
    volume = models.BigIntegerField(help_text="Traded in this minute; 0 for an index")
    oi = models.BigIntegerField(null=True, help_text="Open interest at the minute's end, where there is such a thing")
    vwap = models.FloatField(null=True, help_text="Of what the stream saw; the broker's candles have none")
    origin = models.CharField(max_length=8, choices=Origin)
    # Of a bar of which no process saw the whole minute, so that the parts of several fit together: `bar_store`.
    first_second = models.SmallIntegerField(null=True, help_text="Of the first trade seen; null of a whole minute")
    last_second = models.SmallIntegerField(null=True, help_text="Of the last trade seen")
    volume_from = models.BigIntegerField(null=True, help_text="The day's volume before the first trade seen")
    volume_until = models.BigIntegerField(null=True, help_text="The day's volume after the last trade seen")

    class Meta:
        ordering = ["minute"]

    def __str__(self) -> str:
        return f"{self.instrument_id} {self.minute:%Y-%m-%d %H:%M}"


class DayBar(models.Model):
    """One instrument's one day as the broker has it: adjusted for splits and bonuses, not for dividends."""

    instrument = models.ForeignKey("market.Instrument", on_delete=models.PROTECT, related_name="+")
    day = models.DateField(help_text="In India")
    continuous = models.BooleanField(
        default=False, help_text="Of the futures that expired before, joined by the broker"
    )
    open = models.FloatField()
    high = models.FloatField()
    low = models.FloatField()
    close = models.FloatField()
    volume = models.BigIntegerField()
    oi = models.BigIntegerField(null=True)

    class Meta:
        ordering = ["day"]
        constraints = [
            models.UniqueConstraint(fields=["instrument", "continuous", "day"], name="market_day_bar"),
            models.CheckConstraint(
                condition=Q(high__gte=F("open"), low__lte=F("open"))
                & Q(high__gte=F("close"), low__lte=F("close"), volume__gte=0),
                name="market_day_bar_prices",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.instrument_id} {self.day}"


class CandleCoverage(models.Model):
    """For which days one instrument's candles were asked of the broker and stored: they are not asked for again.

    A day counts once it is over. `today_until` is how far the day that is going on was known when it was last asked.
    """

    class Series(models.TextChoices):
        MINUTE = "minute"
        DAY = "day"
        CONTINUOUS = "continuous", "Days of continuous futures"

    instrument = models.ForeignKey("market.Instrument", on_delete=models.CASCADE, related_name="+")
    series = models.CharField(max_length=10, choices=Series)
    days = DaysField()
    today_until = models.DateTimeField(null=True, blank=True)
    asked_at = models.DateTimeField(help_text="System time")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["instrument", "series"], name="market_candle_coverage")]

    def __str__(self) -> str:
        return f"{self.instrument_id} {self.series}"


MINUTE_BARS: Final = "market_minutebar"
