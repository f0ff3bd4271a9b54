"""Which day an imported dump is of, and which days an exchange's own list said."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("market", "0003_instrument_search")]

    operations = [
        migrations.AddField(
            model_name="instrumentimport",
            name="market_time",
            field=models.DateTimeField(help_text="Market time at the start: which day's dump it is", null=True),
        ),
        migrations.AlterField(
            model_name="instrumentimport",
            name="started_at",
            field=models.DateTimeField(auto_now_add=True, help_text="System time"),
        ),
        migrations.AddField(
            model_name="tradingsession",
            name="from_list",
            field=models.CharField(
                blank=True,
                help_text="The exchange's list that was imported: `load_calendar` leaves it alone",
                max_length=128,
                default="",
            ),
            preserve_default=False,
        ),
        migrations.AlterField(
            model_name="tradingsession",
            name="set_by_hand",
            field=models.BooleanField(default=False, help_text="Entered here: neither files nor lists change it"),
        ),
    ]
