"""Under `/api/v1/`."""

from rest_framework.routers import SimpleRouter

from market.views import InstrumentViewSet, OptionChainViewSet

router = SimpleRouter(trailing_slash=False)
router.register("instruments", InstrumentViewSet, basename="instrument")
router.register("option-chains", OptionChainViewSet, basename="option-chain")

urlpatterns = router.urls
