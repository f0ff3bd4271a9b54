"""Serializers that refuse what they do not know, and what this app says of itself."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from accounts.actions import Action


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


class AccountRightsSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField(source="public_id")
    kite_user_id = serializers.CharField()
    # the stubs take `label` for the field's own attribute of that name
    label = serializers.CharField()  # type: ignore[assignment]
    actions = serializers.ListField(child=serializers.ChoiceField(choices=Action.choices))


class MeSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=["user", "api_key"])
    name = serializers.CharField(help_text="The user name, or the key's label.")
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=Action.choices))
    accounts = AccountRightsSerializer(many=True)
