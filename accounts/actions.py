"""The four things a principal may do with an account, in the words of grants and of key scopes."""

from django.db import models


class Action(models.TextChoices):
    READ = "read", "Read"
    STREAM = "stream", "Stream"
    TRADE = "trade", "Trade"
    ADMIN = "admin", "Administer"
