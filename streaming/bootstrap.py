"""The last session's candles of what is streamed, for changes since then, volatilities and Greeks of the past."""

from accounts import clock
from market.backfill import Backfilled, load_last_session
from market.candles import Fetch
from market.models import Instrument
from streaming.subscriptions import streamed_on


def load_what_is_streamed(*, most: int, fetch: Fetch | None = None) -> Backfilled:
    """Store the last session's minutes of `most` streamed instruments; what is stored is not asked for again.

    Underlyings and futures come first, then the options that are nearest to the money.
    """
    if most < 1:
        return Backfilled()
    bearers = Instrument.objects.by_tokens(one.instrument_token for one in streamed_on(clock.today()))
    return load_last_session(bearers.values(), most=most, fetch=fetch)
