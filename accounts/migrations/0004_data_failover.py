from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_automated_login"),
    ]

    operations = [
        migrations.AddField(
            model_name="tradingaccount",
            name="data_failover",
            field=models.BooleanField(
                default=False,
                help_text="May answer data calls in place of another account of the same owner. Never orders.",
                verbose_name="data failover",
            ),
        ),
    ]
