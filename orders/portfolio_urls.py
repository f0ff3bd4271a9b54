"""Under `/api/v1/trading-accounts/{id}/`."""

from django.urls import path

from orders.portfolio_views import PortfolioViewSet

urlpatterns = [
    path(
        f"trading-accounts/<uuid:public_id>/{name}",
        PortfolioViewSet.as_view({"post" if name == "sync" else "get": name.replace("-", "_")}),
        name=f"account-{name}",
    )
    for name in ("positions", "holdings", "funds", "trades", "broker-orders", "drift", "sync")
]
