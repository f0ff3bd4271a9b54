"""Where the broker posts what becomes of orders. Open to everybody: only what its app's secret has signed is kept."""

from http import HTTPStatus

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from accounts.minute_counts import MinuteCount
from accounts.models import KiteApp
from orders.metrics import POSTBACKS
from orders.postbacks import NoPostback, take_in
from orders.tasks import ring_for_news

LARGEST_BYTES = 16 * 1024
_counts = MinuteCount("postbacks")


# The sender is a program without cookies of ours: there is nothing that a foreign page could misuse.
@csrf_exempt
@require_POST
def take_postback(request: HttpRequest, slug: str) -> HttpResponse:
    """Answers 200 once the postback is kept, and again for the same one. The body of an answer is always empty."""
    app = KiteApp.objects.filter(hook_slug=slug).first()
    if app is None:
        return _answer("unknown_slug", HTTPStatus.NOT_FOUND)
    if _counts.add(str(app.pk)) > settings.POSTBACKS_PER_MINUTE:
        return _answer("too_many", HTTPStatus.TOO_MANY_REQUESTS)
    raw = request.read(LARGEST_BYTES + 1)
    if len(raw) > LARGEST_BYTES:
        return _answer("too_large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    try:
        postback, is_new = take_in(app, raw)
    except NoPostback as exc:
        return _answer(exc.reason, HTTPStatus.BAD_REQUEST)
    if is_new and not _counts.is_redis_away:  # a bell that hangs would hold up the answer; the row is found without
        transaction.on_commit(lambda: ring_for_news(postback.account_id), robust=True)
    return _answer("kept" if is_new else "repeated", HTTPStatus.OK)


def _answer(result: str, status: HTTPStatus) -> HttpResponse:
    POSTBACKS.labels(result).inc()
    return HttpResponse(status=status)
