"""Serializers that refuse what they do not know, and what this app says of itself."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request

from accounts.actions import Action
from accounts.breaker import BreakerState
from accounts.budget_limits import RouteClass


class StrictSerializer(serializers.Serializer[Any]):
    """Base of every serializer that reads a body or a query: an unknown field is an error, never ignored.

    A misspelt field silently dropped would be an order without its stop, or a filter that filters nothing.
    """

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            known = {name for name, field in self.fields.items() if not field.read_only}
            unknown = {str(name): ["Unknown field."] for name in data if name not in known}
            if unknown:
                raise serializers.ValidationError(unknown)
        return super().to_internal_value(data)


def valid(form: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    """The body, as the form has understood it. Raises ValidationError."""
    filled = form(data=request.data)
    filled.is_valid(raise_exception=True)
    given: dict[str, Any] = filled.validated_data
    return given


class AccountRightsSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField(source="public_id")
    kite_user_id = serializers.CharField()
    # the stubs take `label` for the field's own attribute of that name
    label = serializers.CharField()  # type: ignore[assignment]
    actions = serializers.ListField(child=serializers.ChoiceField(choices=Action.choices))


class MeterSerializer(serializers.Serializer[Any]):
    route_class = serializers.ChoiceField(choices=[str(one) for one in RouteClass])
    owner = serializers.CharField(
        help_text="Whom the broker counts: the account, or the last four characters of the app's API key."
    )
    window = serializers.ChoiceField(choices=["second", "minute", "day"])
    window_seconds = serializers.FloatField()
    limit = serializers.IntegerField()
    reserve = serializers.IntegerField(help_text="The part of the limit that only cancels and exits may use.")
    used = serializers.IntegerField(allow_null=True, help_text="Null while Redis is away: nobody knows it then.")
    next_free_seconds = serializers.FloatField(
        allow_null=True, help_text="When one more call fits, the reserve included; 0: now."
    )


class BreakerSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    state = serializers.ChoiceField(choices=[str(state) for state in BreakerState])


class BudgetSerializer(serializers.Serializer[Any]):
    kite_user_id = serializers.CharField()
    budgets = MeterSerializer(many=True)
    breakers = BreakerSerializer(many=True)
    calls_under_way = serializers.IntegerField(help_text="Of this account, over all processes.")


class MeSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=["user", "api_key", "token"])
    name = serializers.CharField(help_text="The user name, or the key's label.")
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=Action.choices))
    accounts = AccountRightsSerializer(many=True)
