"""The authorisation function as REST framework's permissions and as a decorator for pages."""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, ParamSpec

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts.actions import Action
from accounts.authorisation import authorise, is_administrator
from accounts.exceptions import Denied, NotAuthenticated, NotFound
from accounts.models import TradingAccount
from accounts.principals import principal_of

if TYPE_CHECKING:  # REST framework imports its default permissions while it defines this class
    from rest_framework.views import APIView

P = ParamSpec("P")


class _May(BasePermission):
    """Asks for one action; for an object, on its account (the object itself, or its `account`)."""

    action: ClassVar[Action]

    def has_permission(self, request: Request, view: "APIView") -> bool:
        try:
            authorise(principal_of(request), self.action)
        except (NotAuthenticated, Denied):
            return False  # the framework answers 401 or 403
        return True

    def has_object_permission(self, request: Request, view: "APIView", obj: Any) -> bool:
        account = obj if isinstance(obj, TradingAccount) else obj.account
        try:
            authorise(principal_of(request), self.action, account)
        except NotFound as exc:
            raise Http404 from exc
        except (NotAuthenticated, Denied):
            return False
        return True


class MayRead(_May):
    action = Action.READ


class MayStream(_May):
    action = Action.STREAM


class MayTrade(_May):
    action = Action.TRADE


class MayStop(_May):
    """Who may stop trading; and the service's administrators, who may stop everything."""

    action = Action.KILLSWITCH

    def has_permission(self, request: Request, view: "APIView") -> bool:
        return is_administrator(principal_of(request)) or super().has_permission(request, view)


class MayAdminister(_May):
    action = Action.ADMIN


class AdministersService(BasePermission):
    """For what belongs to the service and to nobody's account."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        return is_administrator(principal_of(request))


def page_view(
    action: Action,
) -> Callable[
    [Callable[Concatenate[HttpRequest, P], HttpResponseBase]], Callable[Concatenate[HttpRequest, P], HttpResponseBase]
]:
    """Decorate a page: who is not logged in is sent to do so and comes back; who may not do `action` gets a 403."""

    def decorate(
        view: Callable[Concatenate[HttpRequest, P], HttpResponseBase],
    ) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            try:
                authorise(principal_of(request), action)
                return view(request, *args, **kwargs)
            except NotAuthenticated:
                return redirect_to_login(request.get_full_path())
            except Denied as exc:
                raise PermissionDenied(str(exc)) from exc
            except NotFound as exc:
                raise Http404(str(exc)) from exc

        return guarded

    return decorate
