"""Work of the default queue that keeps the accounts usable."""

from celery import shared_task

from accounts import token_refresh


@shared_task(name="accounts.refresh_tokens")
def refresh_tokens() -> None:
    """Log in the accounts that have opted in and have no token. Every minute; safe to run twice at once."""
    token_refresh.refresh_tokens()
