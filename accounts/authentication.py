"""How REST requests say who sends them: an API key or a token in a header, or a person's session cookie."""

from django.contrib.auth.models import User
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts.addresses import client_address
from accounts.api_keys import check_api_key, refuse_key_in_query
from accounts.exceptions import NotAuthenticated
from accounts.jwt import Bearer, check_jwt
from accounts.models import ApiKey
from accounts.principals import ONE_IDENTITY, bearer_token


class ApiKeyAuthentication(BaseAuthentication):
    """`X-API-Key: kts_…`. First in the list, so that a request without any identity is answered 401."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        refuse_key_in_query(request.query_params)
        text = request.headers.get("X-API-Key")
        if text is None:
            return None
        if bearer_token(request.headers.get("Authorization", "")) is not None:
            raise AuthenticationFailed(ONE_IDENTITY)
        try:
            key = check_api_key(text, address=client_address(request.META))
        except NotAuthenticated as exc:
            raise AuthenticationFailed(str(exc)) from exc
        return key.owner, key

    def authenticate_header(self, request: Request) -> str:
        return 'ApiKey realm="ticker"'


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer …`: a JWT of the outside user service. Where those are off, none is good."""

    def authenticate(self, request: Request) -> tuple[User, Bearer] | None:
        text = bearer_token(request.headers.get("Authorization", ""))
        if text is None:
            return None
        try:
            bearer = check_jwt(text, address=client_address(request.META))
        except NotAuthenticated as exc:
            raise AuthenticationFailed(str(exc)) from exc
        return bearer.identity.user, bearer

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="ticker"'


class BrowserSessionAuthentication(SessionAuthentication):
    """The cookie of a person who is logged in; what changes something needs the CSRF token as well."""
