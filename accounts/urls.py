from django.urls import path
from rest_framework.routers import SimpleRouter

from accounts import ticket_views, views
from accounts.trading_account_views import TradingAccountViewSet

router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("api/v1/trading-accounts", TradingAccountViewSet, basename="trading-account")

app_name = "accounts"

urlpatterns = [
    # open: this is where people become known
    path("login/", views.LogIn.as_view(), name="login"),
    path("login/link/<str:token>/", views.log_in_by_link, name="login-link"),
    path("logout/", views.LogOut.as_view(), name="logout"),
    path("accounts/kite/login/<uuid:public_id>/", views.start_kite_login, name="kite-login"),
    path("accounts/kite/refresh/<uuid:public_id>/", views.refresh_kite_login, name="kite-refresh"),
    path("accounts/kite/logout/<uuid:public_id>/", views.end_kite_login, name="kite-logout"),
    path("accounts/kite/callback/", views.kite_callback, name="kite-callback"),
    path("api/v1/trading-accounts/<uuid:public_id>/budget", views.Budget.as_view(), name="budget"),
    *router.urls,
    path("api/v1/me", views.Me.as_view(), name="me"),
    path("api/v1/ws-tickets", ticket_views.TicketsView.as_view(), name="ws-tickets"),
]
