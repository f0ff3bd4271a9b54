"""`/metrics`: this process's figures in Prometheus' text form, and those that all processes share."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from django_prometheus.exports import ExportToDjangoView
from prometheus_client import generate_latest

from accounts.actions import Action
from accounts.authorisation import authorise
from accounts.exceptions import Denied, NotAuthenticated
from accounts.limit_metrics import LIMITS_REGISTRY
from accounts.principals import principal_of
from market.gap_metrics import GAPS_REGISTRY
from orders.queue_metrics import ORDERS_REGISTRY
from tickerproject.monitors import is_of_this_machine


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Open to this machine's own Prometheus, else to whoever may read."""
    if not is_of_this_machine(request):
        try:
            authorise(principal_of(request), Action.READ)
        except (NotAuthenticated, Denied):
            return HttpResponse(
                "metrics are for this machine and for those who may read\n", status=403, content_type="text/plain"
            )
    response: HttpResponse = ExportToDjangoView(request)
    for registry in (LIMITS_REGISTRY, GAPS_REGISTRY, ORDERS_REGISTRY):
        response.write(generate_latest(registry))
    return response
