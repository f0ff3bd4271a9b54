"""REST: tickets for the WebSockets of browsers."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.actions import Action
from accounts.authorisation import authorise
from accounts.exceptions import Denied, NotFound
from accounts.models import SocketTicket
from accounts.permissions import MayStream
from accounts.principals import ApiKeyPrincipal, Principal, TokenPrincipal, UserPrincipal, principal_of
from accounts.serializers import StrictSerializer
from accounts.sockets import is_own_origin
from accounts.tickets import password_mark


class TicketRequestSerializer(StrictSerializer):
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=Action.choices),
        default=[Action.STREAM],
        min_length=1,
        max_length=len(Action),
    )
    origin = serializers.CharField(
        max_length=300, required=False, help_text="The page's origin, where the request itself does not name it."
    )


class TicketSerializer(serializers.Serializer[Any]):
    ticket = serializers.CharField(help_text="Offer it as the sub-protocol `ticket.<ticket>`, beside `ticker.v1`.")
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=Action.choices))
    origin = serializers.CharField()
    expires_at = serializers.DateTimeField()


class TicketsView(APIView):
    permission_classes = [MayStream]

    @extend_schema(request=TicketRequestSerializer, responses={201: TicketSerializer}, operation_id="ws_tickets_create")
    def post(self, request: Request) -> Response:
        """A ticket that opens one WebSocket from one page within 30 seconds."""
        form = TicketRequestSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        principal = principal_of(request)
        scopes = [Action(scope) for scope in form.validated_data["scopes"]]
        for scope in scopes:
            authorise(principal, scope)
        origin = _origin(request, form.validated_data.get("origin"))
        ticket, text = SocketTicket.objects.issue(scopes=scopes, origin=origin, **_maker(principal))
        return Response(
            TicketSerializer(
                {"ticket": text, "scopes": ticket.scopes, "origin": ticket.origin, "expires_at": ticket.expires_at}
            ).data,
            status=status.HTTP_201_CREATED,
        )


def _origin(request: Request, named: str | None) -> str:
    """The page that the ticket is for. What a browser says of itself goes before what the body says."""
    sent = request.headers.get("Origin")
    origin = sent or named
    if origin is None:
        raise serializers.ValidationError({"origin": ["Name the origin of the page that will open the socket."]})
    if sent and named and sent != named:
        raise serializers.ValidationError({"origin": ["It is not the one that the request comes from."]})
    if not is_own_origin(origin, [request.get_host()]):
        raise Denied("Pages of this origin may not open a socket here.")
    return origin


def _maker(principal: Principal | None) -> dict[str, object]:
    match principal:
        case UserPrincipal(user):
            return {"user": user, "password_mark": password_mark(user)}
        case ApiKeyPrincipal(key):
            return {"api_key": key}
        case TokenPrincipal(bearer):
            return {"identity": bearer.identity, "maker_ends_at": bearer.claims.expires_at}
    raise NotFound  # a ticket makes no tickets; nobody comes this far without a principal
