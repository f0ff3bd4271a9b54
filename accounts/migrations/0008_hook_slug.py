"""A slug of its own for each app: the rows that are there get theirs before it has to be unique."""

from typing import Any

from django.db import migrations, models

import accounts.models


def give_each_a_slug(apps: Any, schema_editor: Any) -> None:
    for app in apps.get_model("accounts", "KiteApp").objects.filter(hook_slug=None):
        app.hook_slug = accounts.models.new_hook_slug()
        app.save(update_fields=["hook_slug"])


class Migration(migrations.Migration):
    dependencies = [("accounts", "0007_socket_ticket")]

    operations = [
        migrations.AddField("kiteapp", "hook_slug", models.CharField(max_length=43, null=True, editable=False)),
        migrations.RunPython(give_each_a_slug, migrations.RunPython.noop),
        migrations.AlterField(
            "kiteapp",
            "hook_slug",
            models.CharField(default=accounts.models.new_hook_slug, editable=False, max_length=43, unique=True),
        ),
    ]
