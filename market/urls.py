"""Under `/api/v1/`."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from market.calculator_views import GreeksView, PayoffView
from market.views import InstrumentViewSet, OptionChainViewSet

router = SimpleRouter(trailing_slash=False)
router.register("instruments", InstrumentViewSet, basename="instrument")
router.register("option-chains", OptionChainViewSet, basename="option-chain")

urlpatterns = [
    *router.urls,
    path("greeks", GreeksView.as_view(), name="greeks"),
    path("strategies/payoff", PayoffView.as_view(), name="strategy-payoff"),
]
