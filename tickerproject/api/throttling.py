"""A limit on requests per principal, so that one runaway program does not starve the others."""

from typing import TYPE_CHECKING

from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from accounts.addresses import client_address
from accounts.principals import principal_of

if TYPE_CHECKING:  # REST framework imports its default throttles while it defines this class
    from rest_framework.views import APIView


class PrincipalThrottle(SimpleRateThrottle):
    """Counts by person or key, else by address. The rate is `DEFAULT_THROTTLE_RATES["principal"]`."""

    scope = "principal"

    def get_cache_key(self, request: Request, view: "APIView") -> str:
        principal = principal_of(request)
        ident = principal.name if principal else f"address:{client_address(request.META)}"
        return self.cache_format % {"scope": self.scope, "ident": ident}
