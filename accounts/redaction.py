"""What a secret looks like in text. Every sink that people read passes through here: log lines and audit rows.

Patterns work on finished text, because a filter on arguments misses what is already in a message. They must not eat
order ids (15 to 19 digits) or instrument tokens, which are what people search logs for.
"""

import re

HIDDEN = "***"
_NAMED_FIELD = (
    r"access_token|request_token|refresh_token|public_token|api_secret|checksum|enctoken|password|twofa_value|totp(?:_seed)?"
    r"|secret(?:_key)?|authorization|x-api-key|cookie|sessionid|ticker_session|csrftoken"
)
_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)\b(authorization['\"]?\s*[:=]\s*['\"]?)(?:bearer|token|basic)?\s*[^\s,;'\"}]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b(token\s+)[a-z0-9]{4,}:[A-Za-z0-9]{4,}"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)\b({_NAMED_FIELD})((?:\\?['\"])?\s*[:=]\s*(?:\\?['\"])?)[^\s,;&'\"}}\\]+"), rf"\1\2{HIDDEN}"),
    (re.compile(r"\bkts_[a-z]+_[A-Za-z0-9]{4,12}_[A-Za-z0-9_-]{16,}"), HIDDEN),
    # What opens a session once, where it stands in an address or a header.
    (re.compile(r"(/login/link/)[^/\s?\"']+"), rf"\1{HIDDEN}"),
    (re.compile(r"\b(ticket\.)[A-Za-z0-9_-]{16,}"), rf"\1{HIDDEN}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), HIDDEN),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@/]+@"), rf"\1{HIDDEN}@"),
)
_PERSONAL: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+\.[A-Za-z]{2,}(?:\.[A-Za-z]{2,})*"), HIDDEN),
    (re.compile(r"(?<![\w.])(?:\+?91[-\s]?)?[6-9]\d{9}(?![\w.])"), HIDDEN),
    (re.compile(r"\b[A-Z]{5}\d{4}[A-Z]\b"), HIDDEN),
)
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![\w-])"
_LONG_RANDOM: tuple[tuple[re.Pattern[str], str], ...] = (
    # Long random text: at least 32 characters with both letters and digits, which spares ids and plain words; a UUID
    # is an id.
    (
        re.compile(
            rf"(?<![\w/.-])(?!{_UUID})(?=[\w+/=-]*\d)(?=[\w+/=-]*[A-Za-z])(?!0x)[A-Za-z0-9+_-]{{32,}}={{0,2}}(?![\w/.-])"
        ),
        HIDDEN,
    ),
)


def redact(text: str) -> str:
    """`text` with everything that looks like a secret or a person's data replaced by `***`."""
    return _replace(text, _SECRETS + _PERSONAL + _LONG_RANDOM)


_SHORTEST_WORD = 27  # `kts_` and what has to follow; every other secret has more than letters, or is longer
_NAMES_A_SECRET = re.compile(rf"(?i){_NAMED_FIELD}")


def redact_secrets(text: str) -> str:
    """`text` without secrets; a person's data stays: for places that say who did something."""
    if len(text) < _SHORTEST_WORD and text.replace("_", "").isalnum():
        return text  # as most are: the audit's row of an order has twenty of them
    return _replace(text, _SECRETS + _LONG_RANDOM)


def names_a_secret(name: str) -> bool:
    """Whether a field of this name holds a secret, whatever it looks like."""
    return _NAMES_A_SECRET.fullmatch(name) is not None


def _replace(text: str, patterns: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    for pattern, replacement in patterns:
        text = pattern.sub(replacement, text)
    return text
