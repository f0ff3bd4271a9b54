"""The numbers that tell one run of the stream from the next: readers drop lines of an older epoch."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("streaming", "0001_initial")]
    operations = [
        migrations.RunSQL("CREATE SEQUENCE streaming_epoch", "DROP SEQUENCE streaming_epoch"),
    ]
