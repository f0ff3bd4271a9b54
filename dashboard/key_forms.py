"""The form for a new API key. What is wrong is said beside its field."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from accounts.actions import Action
from accounts.addresses import validate_network
from accounts.models import ApiKey, TradingAccount
from accounts.own_keys import MOST_NETWORKS, BeyondOwnRights, LabelInUse, accounts_for_keys, make_own_key

LONGEST_DAYS = ApiKey.LONGEST_LIFE.days
DEFAULT_DAYS = 90


class NewKeyForm(forms.Form):
    label = forms.CharField(max_length=100, error_messages={"required": "Name the program that will use it."})
    scopes = forms.TypedMultipleChoiceField(
        choices=Action.choices, coerce=Action, error_messages={"required": "Tick what it may do."}
    )
    accounts = forms.ModelMultipleChoiceField(
        queryset=TradingAccount.objects.none(),
        to_field_name="public_id",
        error_messages={
            "required": "Tick at least one account.",
            "invalid_choice": "That account is not yours to choose.",
            "invalid_pk_value": "That account is not yours to choose.",
        },
    )
    days = forms.IntegerField(
        min_value=1,
        max_value=LONGEST_DAYS,
        initial=DEFAULT_DAYS,
        error_messages={"invalid": "A whole number of days.", "required": "Every key ends: after how many days?"},
    )
    networks = forms.CharField(required=False, max_length=2000)

    def __init__(self, owner: User, data: Any = None) -> None:
        super().__init__(data)
        self.owner = owner
        accounts = self.fields["accounts"]
        assert isinstance(accounts, forms.ModelMultipleChoiceField)  # noqa: S101  (for the type checker)
        accounts.queryset = accounts_for_keys(owner)

    def clean_networks(self) -> list[str]:
        networks = list(dict.fromkeys(self.cleaned_data["networks"].replace(",", " ").split()))
        if len(networks) > MOST_NETWORKS:
            raise ValidationError(f"{MOST_NETWORKS} addresses or networks at most.")
        for network in networks:
            validate_network(network)
        return networks

    def make(self) -> tuple[ApiKey, str] | None:
        """The new key and its text; None if the form cannot be carried out, and then it says why."""
        if not self.is_valid():
            return None
        asked = self.cleaned_data
        try:
            return make_own_key(
                owner=self.owner,
                label=asked["label"],
                scopes=asked["scopes"],
                accounts=list(asked["accounts"]),
                valid_for=timedelta(days=asked["days"]),
                networks=asked["networks"],
            )
        except LabelInUse as exc:
            self.add_error("label", str(exc))
        except BeyondOwnRights as exc:
            self.add_error("scopes", str(exc))
        return None
