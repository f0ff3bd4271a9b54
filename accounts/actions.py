"""What a principal may do with an account, in the words of grants and of key scopes."""

from django.db import models


class Action(models.TextChoices):
    READ = "read", "Read"
    STREAM = "stream", "Stream"
    TRADE = "trade", "Trade"
    ADMIN = "admin", "Administer"
    KILLSWITCH = "killswitch", "Halt"  # stop trading; resuming it takes the right to trade


def opened_by(action: Action) -> frozenset[Action]:
    """The rights of which any one lets somebody do `action`: who may trade may also stop."""
    return frozenset({action, Action.TRADE}) if action == Action.KILLSWITCH else frozenset({action})
