import pytest
from rest_framework import serializers

from accounts.serializers import StrictSerializer


class Leg(StrictSerializer):
    quantity = serializers.IntegerField()


class Order(StrictSerializer):
    id = serializers.IntegerField(read_only=True)
    symbol = serializers.CharField()
    legs = Leg(many=True, required=False)


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"symbol": "X", "stop": 1}, "stop"),
        ({"symbol": "X", "id": 5}, "id"),
        ({"symbol": "X", "legs": [{"quantity": 1, "owner": 2}]}, "legs"),
    ],
)
def test_an_unknown_or_read_only_field_is_an_error_at_any_depth(data: dict[str, object], field: str) -> None:
    form = Order(data=data)
    assert not form.is_valid()
    assert list(form.errors) == [field]
    assert "Unknown field." in str(form.errors)


def test_known_fields_pass() -> None:
    form = Order(data={"symbol": "X", "legs": [{"quantity": 1}]})
    assert form.is_valid(), form.errors


@pytest.mark.parametrize("data", [None, [], "x", 5])
def test_what_is_no_object_is_an_error_and_no_crash(data: object) -> None:
    assert not Order(data=data).is_valid()
