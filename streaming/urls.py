"""REST routes, below `/api/v1/`."""

from rest_framework.routers import SimpleRouter

from streaming.strike_views import StrikeRuleViewSet
from streaming.views import SubscriptionViewSet

# Without a slash at the end, like the broker's own paths.
router = SimpleRouter(trailing_slash=False)
router.register("subscriptions", SubscriptionViewSet, basename="subscription")
router.register("strike-rules", StrikeRuleViewSet, basename="strike-rule")

app_name = "streaming"
urlpatterns = router.urls
