from django.urls import path
from rest_framework.routers import SimpleRouter

from orders import (
    batch_views,
    broker_order_views,
    flatten_views,
    halt_views,
    limit_views,
    portfolio_urls,
    timeline_views,
    views,
)

router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("orders", views.OrderViewSet, basename="order")

app_name = "orders"

urlpatterns = [
    *router.urls,
    *portfolio_urls.urlpatterns,
    path("orders/<uuid:task_id>/timeline", timeline_views.TimelineView.as_view(), name="order-timeline"),
    path("batch/orders", batch_views.BatchOrdersView.as_view(), name="batch-orders"),
    path("batch/cancel", batch_views.BatchCancelView.as_view(), name="batch-cancel"),
    path(
        "trading-accounts/<uuid:public_id>/broker-orders/<str:order_id>",
        broker_order_views.BrokerOrderView.as_view(),
        name="broker-order",
    ),
    path("trading-accounts/<uuid:public_id>/flatten", flatten_views.FlattenView.as_view(), name="flatten"),
    path("trading-states", halt_views.TradingStatesView.as_view(), name="trading-states"),
    path("trading-accounts/<uuid:public_id>/order-limits", limit_views.OrderLimitsView.as_view(), name="order-limits"),
]
