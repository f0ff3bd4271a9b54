"""Numbers as requests bring them, read without mercy: a quantity that was guessed would be an order."""

import re
from decimal import Decimal
from typing import Any

from rest_framework import serializers

_DECIMAL = re.compile(r"-?[0-9]{1,14}(\.[0-9]{1,6})?")


class WholeField(serializers.IntegerField):
    """A whole number as JSON has it: no text, no fraction, no true."""

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return super().to_internal_value(data)


class DecimalTextField(serializers.DecimalField):
    """A number or decimal text, finite, in ASCII digits; no empty text, no true."""

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        if data == "":
            self.fail("invalid")  # the framework would take it for null
        empty: tuple[bool, Any] = super().validate_empty_values(data)
        return empty

    def to_internal_value(self, data: Any) -> Decimal:
        if isinstance(data, bool) or not _DECIMAL.fullmatch(str(data)):
            self.fail("invalid")
        return super().to_internal_value(data)
