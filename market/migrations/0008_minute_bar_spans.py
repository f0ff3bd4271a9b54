from django.db import migrations, models

SPANS = """
ALTER TABLE market_minutebar
    ADD COLUMN first_second smallint,
    ADD COLUMN last_second smallint,
    ADD COLUMN volume_from bigint,
    ADD COLUMN volume_until bigint,
    ADD CONSTRAINT market_minutebar_span CHECK (
        (first_second IS NULL) = (last_second IS NULL) AND (volume_from IS NULL) = (volume_until IS NULL)
        AND first_second >= 0 AND first_second <= last_second AND last_second < 60
        AND (volume_from IS NULL OR first_second IS NOT NULL)
    );
"""
NO_SPANS = """
ALTER TABLE market_minutebar
    DROP CONSTRAINT market_minutebar_span,
    DROP COLUMN first_second,
    DROP COLUMN last_second,
    DROP COLUMN volume_from,
    DROP COLUMN volume_until;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("market", "0007_chain_snapshots"),
    ]

    operations = [
        migrations.RunSQL(
            SPANS,
            NO_SPANS,
            state_operations=[
                migrations.AddField(
                    "minutebar",
                    "first_second",
                    models.SmallIntegerField(help_text="Of the first trade seen; null of a whole minute", null=True),
                ),
                migrations.AddField(
                    "minutebar", "last_second", models.SmallIntegerField(help_text="Of the last trade seen", null=True)
                ),
                migrations.AddField(
                    "minutebar",
                    "volume_from",
                    models.BigIntegerField(help_text="The day's volume before the first trade seen", null=True),
                ),
                migrations.AddField(
                    "minutebar",
                    "volume_until",
                    models.BigIntegerField(help_text="The day's volume after the last trade seen", null=True),
                ),
            ],
        ),
    ]
