"""What may stand in a path of the broker's: a cancel with a strange order id must not become another call."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from accounts.broker.words import Exchange, Interval, MarginSegment, TransactionType, Variety
from accounts.exceptions import RequestRejected

_NUMBER = re.compile(r"[0-9]{1,20}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _one_of(words: type[StrEnum]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(word) for word in words))


_FORMS = {
    "order_id": _NUMBER,
    "trigger_id": _NUMBER,
    "instrument_token": re.compile(r"[0-9]{1,10}"),
    "sip_id": re.compile(f"{_NUMBER.pattern}|{_UUID.pattern}"),
    "variety": _one_of(Variety),
    "exchange": _one_of(Exchange),
    "interval": _one_of(Interval),
    "segment": _one_of(MarginSegment),
    "transaction_type": _one_of(TransactionType),
}
# Orders of mutual funds have ids of another form.
_FUND_FORMS = _FORMS | {"order_id": re.compile(f"{_NUMBER.pattern}|{_UUID.pattern}")}


def path_of(template: str, parts: Mapping[str, Any]) -> str:
    """The path of one call.

    Parameters
    ----------
    template : with names in braces, as the official client has it: ``/orders/{variety}/{order_id}``
    parts : what stands for each name

    Raises
    ------
    RequestRejected
        A part has not the form that its name asks for: nothing is sent.
    """
    forms = _FUND_FORMS if template.startswith("/mf/") else _FORMS
    for name, value in parts.items():
        form = forms.get(name)
        if form is None or not form.fullmatch(str(value)):
            shown = repr(str(value)[:40])
            raise RequestRejected(f"not sent: {shown} is no {name} of the broker's", error_type="InputException")
    # Nothing that passed needs quoting; should a form ever let more through, it still stays one part of the path.
    return template.format(**{name: quote(str(value), safe="") for name, value in parts.items()})
