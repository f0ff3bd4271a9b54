"""Trigram indexes, so that a search for a part of a symbol or name need not read the whole table.

`pg_trgm` comes with PostgreSQL and is trusted: the owner of a database may create it in there.
"""

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.contrib.postgres.operations import TrigramExtension
from django.db import migrations
from django.db.models import Q
from django.db.models.functions import Upper


class Migration(migrations.Migration):
    dependencies = [("market", "0002_pricing_and_chain_history")]

    operations = [
        TrigramExtension(),
        migrations.AddIndex(
            model_name="instrument",
            index=GinIndex(
                OpClass(Upper("tradingsymbol"), name="gin_trgm_ops"),
                OpClass(Upper("name"), name="gin_trgm_ops"),
                name="market_instrument_words",
                gin_pending_list_limit=512,
            ),
        ),
        migrations.AddIndex(
            model_name="instrument",
            index=GinIndex(
                OpClass(Upper("tradingsymbol"), name="gin_trgm_ops"),
                OpClass(Upper("name"), name="gin_trgm_ops"),
                name="market_instrument_leading",
                gin_pending_list_limit=512,
                condition=Q(instrument_type__in=("EQ", "FUT")),
            ),
        ),
    ]
