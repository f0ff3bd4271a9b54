import datetime
import uuid

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.db.models.expressions
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import accounts.addresses
import accounts.models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="KiteApp",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("api_key", models.CharField(max_length=64, unique=True)),
                ("label", models.CharField(max_length=100)),
                (
                    "redirect_url",
                    models.CharField(
                        blank=True,
                        max_length=200,
                        validators=[django.core.validators.URLValidator(["http", "https"])],
                        help_text="Where the broker's login page returns to, as registered there.",
                    ),
                ),
                (
                    "postback_url",
                    models.CharField(
                        blank=True,
                        max_length=200,
                        validators=[django.core.validators.URLValidator(["http", "https"])],
                        help_text="Where the broker reports order updates, as registered there.",
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "verbose_name": "Kite app",
                "ordering": ["label"],
            },
        ),
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key_id", models.CharField(editable=False, max_length=8, unique=True)),
                ("digest", models.CharField(editable=False, max_length=64)),
                ("label", models.CharField(max_length=100)),
                (
                    "scopes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("read", "Read"),
                                ("stream", "Stream"),
                                ("trade", "Trade"),
                                ("admin", "Administer"),
                            ],
                            max_length=10,
                        ),
                        size=None,
                    ),
                ),
                (
                    "networks",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=43, validators=[accounts.addresses.validate_network]),
                        blank=True,
                        default=list,
                        help_text="Addresses or networks it may come from; empty: any.",
                        size=None,
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("expires_at", models.DateTimeField(default=accounts.models.default_key_expiry)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                ("last_used_at", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="api_keys",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "API key",
                "ordering": ["-created_at"],
            },
        ),
        migrations.CreateModel(
            name="LoginLink",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("digest", models.CharField(editable=False, max_length=64, unique=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("expires_at", models.DateTimeField()),
                ("used_at", models.DateTimeField(blank=True, null=True)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="login_links",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="TradingAccount",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("public_id", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                (
                    "kite_user_id",
                    models.CharField(
                        max_length=12,
                        unique=True,
                        validators=[django.core.validators.RegexValidator("\\A[A-Z0-9]{4,12}\\Z")],
                        verbose_name="Kite user id",
                    ),
                ),
                ("label", models.CharField(max_length=100)),
                ("is_data", models.BooleanField(default=True, help_text="May feed market data.", verbose_name="data")),
                (
                    "is_trading",
                    models.BooleanField(default=False, help_text="May send orders.", verbose_name="trading"),
                ),
                ("priority", models.PositiveSmallIntegerField(default=100, help_text="Lower is used first.")),
                (
                    "state",
                    models.CharField(
                        choices=[("enabled", "Enabled"), ("disabled", "Disabled")], default="enabled", max_length=10
                    ),
                ),
                (
                    "monogram_colour",
                    models.CharField(
                        choices=[
                            ("slate", "Slate"),
                            ("sand", "Sand"),
                            ("plum", "Plum"),
                            ("moss", "Moss"),
                            ("clay", "Clay"),
                            ("sky", "Sky"),
                        ],
                        default="slate",
                        max_length=10,
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "app",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="accounts", to="accounts.kiteapp"
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="trading_accounts",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["priority", "pk"],
            },
        ),
        migrations.CreateModel(
            name="Grant",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "action",
                    models.CharField(
                        choices=[("read", "Read"), ("stream", "Stream"), ("trade", "Trade"), ("admin", "Administer")],
                        max_length=10,
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "api_key",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="grants",
                        to="accounts.apikey",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="grants",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="grants", to="accounts.tradingaccount"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="BrokerSession",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "status",
                    models.CharField(
                        choices=[("none", "never logged in"), ("active", "logged in"), ("ended", "logged out")],
                        default="none",
                        max_length=10,
                    ),
                ),
                (
                    "token_version",
                    models.PositiveIntegerField(default=0, help_text="Grows with each login; readers compare it."),
                ),
                ("logged_in_at", models.DateTimeField(blank=True, null=True)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                (
                    "account",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="session",
                        to="accounts.tradingaccount",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="BrokerCredential",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("api_secret", "API secret"),
                            ("access_token", "access token"),
                            ("password", "password"),
                            ("totp_seed", "TOTP seed"),
                        ],
                        max_length=20,
                    ),
                ),
                ("ciphertext", models.BinaryField()),
                ("key_id", models.CharField(db_index=True, help_text="Which key of the ring sealed it.", max_length=8)),
                ("version", models.PositiveIntegerField(default=1)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "app",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="credentials",
                        to="accounts.kiteapp",
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="credentials",
                        to="accounts.tradingaccount",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="apikey",
            name="accounts",
            field=models.ManyToManyField(blank=True, related_name="api_keys", to="accounts.tradingaccount"),
        ),
        migrations.AddConstraint(
            model_name="tradingaccount",
            constraint=models.CheckConstraint(
                condition=models.Q(("kite_user_id__regex", "^[A-Z0-9]{4,12}$")), name="accounts_account_kite_user_id"
            ),
        ),
        migrations.AddConstraint(
            model_name="grant",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("api_key__isnull", False), ("user__isnull", True)),
                    models.Q(("api_key__isnull", True), ("user__isnull", False)),
                    _connector="OR",
                ),
                name="accounts_grant_one_principal",
            ),
        ),
        migrations.AddConstraint(
            model_name="grant",
            constraint=models.CheckConstraint(
                condition=models.Q(("action__in", ["read", "stream", "trade", "admin"])), name="accounts_grant_action"
            ),
        ),
        migrations.AddConstraint(
            model_name="grant",
            constraint=models.UniqueConstraint(fields=("user", "account", "action"), name="accounts_grant_user"),
        ),
        migrations.AddConstraint(
            model_name="grant",
            constraint=models.UniqueConstraint(fields=("api_key", "account", "action"), name="accounts_grant_key"),
        ),
        migrations.AddConstraint(
            model_name="brokersession",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "active"), _negated=True),
                    models.Q(("expires_at__isnull", False), ("logged_in_at__isnull", False)),
                    _connector="OR",
                ),
                name="accounts_session_active_has_times",
            ),
        ),
        migrations.AddConstraint(
            model_name="brokercredential",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("account__isnull", False), ("app__isnull", True)),
                    models.Q(("account__isnull", True), ("app__isnull", False)),
                    _connector="OR",
                ),
                name="accounts_credential_one_holder",
            ),
        ),
        migrations.AddConstraint(
            model_name="brokercredential",
            constraint=models.UniqueConstraint(fields=("account", "kind"), name="accounts_credential_account_kind"),
        ),
        migrations.AddConstraint(
            model_name="brokercredential",
            constraint=models.UniqueConstraint(fields=("app", "kind"), name="accounts_credential_app_kind"),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.CheckConstraint(
                condition=models.Q(("scopes__contained_by", ["read", "stream", "trade", "admin"])),
                name="accounts_apikey_scopes",
            ),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "expires_at__lte",
                        django.db.models.expressions.CombinedExpression(
                            models.F("created_at"), "+", models.Value(datetime.timedelta(days=366))
                        ),
                    )
                ),
                name="accounts_apikey_life",
            ),
        ),
    ]
