"""A limit on requests per principal, so that one runaway program does not starve the others."""

from typing import TYPE_CHECKING

from django.core.cache.backends.locmem import LocMemCache
from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from accounts.addresses import client_address
from accounts.principals import principal_of

if TYPE_CHECKING:  # REST framework imports its default throttles while it defines this class
    from rest_framework.views import APIView


# Counts while Redis is away: of this process alone, but not open to everything.
_in_this_process = LocMemCache("throttle", {})


class PrincipalThrottle(SimpleRateThrottle):
    """Counts by person or key, else by address. The rate is `DEFAULT_THROTTLE_RATES["principal"]`."""

    scope = "principal"

    def allow_request(self, request: Request, view: "APIView") -> bool:
        try:
            return super().allow_request(request, view)
        except RedisError:
            self.cache = _in_this_process
            return super().allow_request(request, view)

    def get_cache_key(self, request: Request, view: "APIView") -> str:
        principal = principal_of(request)
        ident = principal.name if principal else f"address:{client_address(request.META)}"
        return self.cache_format % {"scope": self.scope, "ident": ident}


class ScopeThrottle(PrincipalThrottle):
    """For a view with a `throttle_scope`: what one principal may ask of it, by the rate of that name."""

    def __init__(self) -> None:
        """No rate yet: the view names it."""

    def allow_request(self, request: Request, view: "APIView") -> bool:
        scope = getattr(view, "throttle_scope", None)
        if scope is None:
            return True
        self.scope = scope
        self.rate = self.get_rate()
        self.num_requests, self.duration = self.parse_rate(self.rate)
        return super().allow_request(request, view)
