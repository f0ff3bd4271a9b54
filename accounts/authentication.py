"""How REST requests say who sends them: an API key in a header, or a person's session cookie."""

from django.contrib.auth.models import User
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts.addresses import client_address
from accounts.api_keys import check_api_key, refuse_key_in_query
from accounts.exceptions import NotAuthenticated
from accounts.models import ApiKey


class ApiKeyAuthentication(BaseAuthentication):
    """`X-API-Key: kts_…`. First in the list, so that a request without any identity is answered 401."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        refuse_key_in_query(request.query_params)
        text = request.headers.get("X-API-Key")
        if text is None:
            return None
        try:
            key = check_api_key(text, address=client_address(request.META))
        except NotAuthenticated as exc:
            raise AuthenticationFailed(str(exc)) from exc
        return key.owner, key

    def authenticate_header(self, request: Request) -> str:
        return 'ApiKey realm="ticker"'


class BrowserSessionAuthentication(SessionAuthentication):
    """The cookie of a person who is logged in; what changes something needs the CSRF token as well."""
