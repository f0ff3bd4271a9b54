"""The one place that decides who may do what. Every view, page and consumer asks here."""

from uuid import UUID

from accounts.actions import Action, opened_by
from accounts.audit import Actor, Kind, record_refusal
from accounts.exceptions import Denied, NotAuthenticated, NotFound
from accounts.models import TradingAccount, TradingAccountQuerySet
from accounts.principals import ApiKeyPrincipal, Principal, TicketPrincipal, TokenPrincipal, UserPrincipal


def accounts_for(principal: Principal | None, action: Action) -> TradingAccountQuerySet:
    """The accounts on which `principal` may do `action`. Every query about accounts starts here."""
    accounts = TradingAccount.objects.all()
    match principal:
        case None:
            return accounts.none()
        case UserPrincipal(user):
            return accounts.visible_to_user(user, action)
        case ApiKeyPrincipal(key):
            return accounts.visible_to_key(key, action)
        case TokenPrincipal():
            is_in_scope = not opened_by(action).isdisjoint(principal.scopes)
            return accounts.visible_to_user(principal.user, action) if is_in_scope else accounts.none()
        case TicketPrincipal():
            return accounts_for(principal.maker, action) if action in principal.scopes else accounts.none()


def authorise(principal: Principal | None, action: Action, account: TradingAccount | None = None) -> None:
    """Return if `principal` may do `action`: on `account`, or at all if none is named.

    What belongs to no account (instruments, calendars, prices) is open to whoever may do `action` on at least one, and,
    trading apart, to the service's administrators.

    Raises
    ------
    NotAuthenticated
        Nobody is asking.
    NotFound
        `account` is none of the principal's business: the same as if there were no such account.
    Denied
        The principal may know of it, but may not do this.
    """
    if principal is None:
        raise NotAuthenticated
    if account is not None:
        if accounts_for(principal, action).filter(pk=account.pk).exists():
            return
        if not any(accounts_for(principal, other).filter(pk=account.pk).exists() for other in Action):
            raise NotFound
        raise Denied(f"You may not {action.value} on account {account.kite_user_id}.")
    if accounts_for(principal, action).exists():
        return
    if isinstance(principal, TicketPrincipal) and action in principal.scopes:
        principal = principal.maker
    is_superuser = isinstance(principal, UserPrincipal) and is_administrator(principal)
    if not is_superuser or action == Action.TRADE:
        raise Denied(f"You have no account or scope with the right to {action.value}.")


def is_administrator(principal: Principal | None) -> bool:
    """Whether it may administer the service itself: a superuser, or a superuser's key with the scope for it."""
    match principal:
        case UserPrincipal(user):
            return user.is_active and user.is_superuser
        case ApiKeyPrincipal(key):
            return Action.ADMIN in key.scopes and key.owner.is_active and key.owner.is_superuser
    return False


def account_for(principal: Principal | None, action: Action, public_id: UUID) -> TradingAccount:
    """The account with this public id, if `principal` may do `action` on it. Raises as `authorise` does.

    It never asks whether there is such an account, only whether the principal has one of that id: so a foreign one
    and a missing one take the same queries, hence the same time, and leave the same row in the audit.
    """
    if principal is None:
        raise NotAuthenticated
    account = accounts_for(principal, action).filter(public_id=public_id).select_related("app").first()
    if account is not None:
        return account
    others = [accounts_for(principal, other).filter(public_id=public_id).first() for other in Action]
    found = next((account for account in others if account is not None), None)
    actor = Actor(principal.name, principal.label)
    record_refusal(Kind.ACCESS_REFUSED, actor=actor, action=action, public_id=str(public_id))
    if found is None:
        raise NotFound
    raise Denied(f"You may not {action.value} on account {found.kite_user_id}.")
