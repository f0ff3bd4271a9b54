"""The keys that a person makes for their own programs: never more than the person may do, and one name, one program.

A program's key is replaced, not added to: of one label two keys work at most, the new one and the one before it.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from accounts.actions import Action
from accounts.api_keys import create_api_key, replace_api_key
from accounts.authorisation import accounts_for
from accounts.exceptions import NotFound, Refused
from accounts.models import ApiKey, ApiKeyQuerySet, TradingAccount, TradingAccountQuerySet
from accounts.principals import UserPrincipal

MOST_OF_ONE_LABEL = 2
MOST_NETWORKS = 20


class LabelInUse(Refused):
    """A key of that label works already."""

    code = "label_in_use"
    default_message = "A key with this label works already. Replace that one, or choose another label."


class BeyondOwnRights(Refused):
    """The key would be allowed what its owner is not."""

    code = "beyond_own_rights"


def own_keys(user: User) -> ApiKeyQuerySet:
    return ApiKey.objects.filter(owner=user).select_related("owner").prefetch_related("accounts")


def others_keys(user: User) -> ApiKeyQuerySet:
    """What administrators of the service see besides their own; nothing for anybody else."""
    keys = ApiKey.objects.exclude(owner=user).select_related("owner").prefetch_related("accounts")
    return keys if user.is_superuser else keys.none()


def own_key(user: User, key_id: str) -> ApiKey:
    """Raises `NotFound` also if it is somebody else's."""
    return _one(own_keys(user), key_id)


def revocable_key(user: User, key_id: str) -> ApiKey:
    """A key that `user` may end: one's own, or any for administrators of the service. Raises `NotFound`."""
    return _one(ApiKey.objects.select_related("owner") if user.is_superuser else own_keys(user), key_id)


def accounts_for_keys(user: User) -> TradingAccountQuerySet:
    """The accounts that a key of `user` could reach: those on which they may do anything at all."""
    principal = UserPrincipal(user)
    usable: set[int] = set()
    for action in Action:
        usable.update(accounts_for(principal, action).values_list("pk", flat=True))
    return TradingAccount.objects.filter(pk__in=usable)


@transaction.atomic
def make_own_key(
    *,
    owner: User,
    label: str,
    scopes: Sequence[Action],
    accounts: Sequence[TradingAccount],
    valid_for: timedelta,
    networks: Iterable[str] = (),
) -> tuple[ApiKey, str]:
    """A key within its owner's own rights, and its text, which cannot be had again.

    Raises
    ------
    LabelInUse, BeyondOwnRights
    """
    for scope in scopes:
        allowed = set(accounts_for(UserPrincipal(owner), scope).values_list("pk", flat=True))
        for account in accounts:
            if account.pk not in allowed:
                raise BeyondOwnRights(f"You may not {scope.value} on {account.kite_user_id} yourself.")
    if _working(owner, label):
        raise LabelInUse
    return create_api_key(
        owner=owner, label=label, scopes=scopes, accounts=accounts, valid_for=valid_for, networks=networks
    )


@transaction.atomic
def replace_own_key(key: ApiKey) -> tuple[ApiKey, str]:
    """As `replace_api_key`, unless the key is being replaced already.

    Raises
    ------
    Refused
        If it has ended, or two of its label work: the older of them is to be revoked first.
    """
    if _working(key.owner, key.label) >= MOST_OF_ONE_LABEL:
        raise Refused(f"Two keys called {key.label} work already. Revoke the one that is not used any more.")
    return replace_api_key(key)


def _working(owner: User, label: str) -> int:
    # Two forms sent at once count one after the other.
    User.objects.select_for_update().get(pk=owner.pk)
    return ApiKey.objects.usable_at(timezone.now()).filter(owner=owner, label=label).count()


def _one(keys: ApiKeyQuerySet, key_id: str) -> ApiKey:
    key = keys.filter(key_id=key_id).first()
    if key is None:
        raise NotFound
    return key
