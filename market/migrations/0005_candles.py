import django.db.models.deletion
from django.db import migrations, models

import market.candle_models

# A partitioned table is more than Django can say. The unique key holds the column that it is split by, as it has to.
MINUTE_BARS = """
CREATE TABLE market_minutebar (
    instrument_id bigint NOT NULL REFERENCES market_instrument (id),
    minute timestamptz NOT NULL,
    open double precision NOT NULL,
    high double precision NOT NULL,
    low double precision NOT NULL,
    close double precision NOT NULL,
    volume bigint NOT NULL,
    oi bigint,
    vwap double precision,
    origin varchar(8) NOT NULL,
    CONSTRAINT market_minutebar_minute CHECK (date_part('second', minute) = 0),
    -- In this order of numbers nan is above infinity, so neither comes through.
    CONSTRAINT market_minutebar_prices CHECK (
        low <= open AND low <= close AND open <= high AND close <= high
        AND low > '-Infinity' AND high < 'Infinity' AND vwap < 'Infinity'
    ),
    CONSTRAINT market_minutebar_totals CHECK (volume >= 0 AND oi >= 0),
    CONSTRAINT market_minutebar_origin CHECK (origin IN ('live', 'history', 'repaired')),
    PRIMARY KEY (instrument_id, minute)
) PARTITION BY RANGE (minute);
CREATE TABLE market_minutebar_rest PARTITION OF market_minutebar DEFAULT;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("market", "0004_import_and_session_origins"),
    ]

    operations = [
        migrations.RunSQL(
            MINUTE_BARS,
            "DROP TABLE market_minutebar",
            state_operations=[
                migrations.CreateModel(
                    name="MinuteBar",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "instrument_id",
                                "minute",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("minute", models.DateTimeField(help_text="The minute's beginning")),
                        ("open", models.FloatField()),
                        ("high", models.FloatField()),
                        ("low", models.FloatField()),
                        ("close", models.FloatField()),
                        ("volume", models.BigIntegerField(help_text="Traded in this minute; 0 for an index")),
                        (
                            "oi",
                            models.BigIntegerField(
                                help_text="Open interest at the minute's end, where there is such a thing", null=True
                            ),
                        ),
                        (
                            "vwap",
                            models.FloatField(
                                help_text="Of what the stream saw; the broker's candles have none", null=True
                            ),
                        ),
                        (
                            "origin",
                            models.CharField(
                                choices=[
                                    ("live", "Live: made of the stream's ticks"),
                                    ("history", "History: the broker's own candle"),
                                    (
                                        "repaired",
                                        "Repaired: the broker's candle for a minute that the stream missed",
                                    ),
                                ],
                                max_length=8,
                            ),
                        ),
                        (
                            "instrument",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="market.instrument",
                            ),
                        ),
                    ],
                    options={"ordering": ["minute"]},
                ),
            ],
        ),
        migrations.CreateModel(
            name="DayBar",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField(help_text="In India")),
                (
                    "continuous",
                    models.BooleanField(
                        default=False, help_text="Of the futures that expired before, joined by the broker"
                    ),
                ),
                ("open", models.FloatField()),
                ("high", models.FloatField()),
                ("low", models.FloatField()),
                ("close", models.FloatField()),
                ("volume", models.BigIntegerField()),
                ("oi", models.BigIntegerField(null=True)),
                (
                    "instrument",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="market.instrument"
                    ),
                ),
            ],
            options={
                "ordering": ["day"],
                "constraints": [
                    models.UniqueConstraint(fields=("instrument", "continuous", "day"), name="market_day_bar"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("high__gte", models.F("open")),
                            ("low__lte", models.F("open")),
                            ("high__gte", models.F("close")),
                            ("low__lte", models.F("close")),
                            ("volume__gte", 0),
                        ),
                        name="market_day_bar_prices",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="CandleCoverage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "series",
                    models.CharField(
                        choices=[
                            ("minute", "Minute"),
                            ("day", "Day"),
                            ("continuous", "Days of continuous futures"),
                        ],
                        max_length=10,
                    ),
                ),
                ("days", market.candle_models.DaysField()),
                ("today_until", models.DateTimeField(blank=True, null=True)),
                ("asked_at", models.DateTimeField(help_text="System time")),
                (
                    "instrument",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="market.instrument"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("instrument", "series"), name="market_candle_coverage")
                ],
            },
        ),
    ]
