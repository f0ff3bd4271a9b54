"""Under `/api/v1/`."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from market.calculator_views import GreeksView, PayoffView
from market.calendar_views import CalendarView
from market.candle_views import CandlesView
from market.gap_views import GapsView
from market.quote_views import QuotesView
from market.refresh_views import InstrumentRefreshView
from market.views import InstrumentViewSet, OptionChainViewSet

router = SimpleRouter(trailing_slash=False)
router.register("instruments", InstrumentViewSet, basename="instrument")
router.register("option-chains", OptionChainViewSet, basename="option-chain")

urlpatterns = [
    *router.urls,
    path("calendar", CalendarView.as_view(), name="calendar"),
    path("quotes", QuotesView.as_view(), name="quotes"),
    path("admin/instruments/refresh", InstrumentRefreshView.as_view(), name="instrument-refresh"),
    path("candles", CandlesView.as_view(), name="candles"),
    path("gaps", GapsView.as_view(), name="gaps"),
    path("greeks", GreeksView.as_view(), name="greeks"),
    path("strategies/payoff", PayoffView.as_view(), name="strategy-payoff"),
]
