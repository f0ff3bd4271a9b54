"""Switching accounts on and off, with a line in the audit."""

from django.db import transaction

from accounts.audit import Kind, record
from accounts.models import TradingAccount

_EVENTS = {TradingAccount.State.ENABLED: Kind.ACCOUNT_ENABLED, TradingAccount.State.DISABLED: Kind.ACCOUNT_DISABLED}


@transaction.atomic
def set_state(account: TradingAccount, state: TradingAccount.State) -> bool:
    """Switch `account`; False if it was in that state before."""
    changed = TradingAccount.objects.filter(pk=account.pk).exclude(state=state).update(state=state)
    if changed:
        record_state(account, state)
    return bool(changed)


def record_state(account: TradingAccount, state: TradingAccount.State) -> None:
    """Write down that `account` has got this state, for a form that saves it with other fields."""
    record(_EVENTS[state], account=account.kite_user_id)
