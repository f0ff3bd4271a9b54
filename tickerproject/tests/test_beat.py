"""What the beat sends, and when."""

import pytest
from django.conf import settings
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

from tickerproject.celery import app


@pytest.mark.django_db(transaction=True)
def test_the_scheduler_takes_the_settings_tasks_into_its_table() -> None:
    DatabaseScheduler(app=app, lazy=False)
    [task] = PeriodicTask.objects.filter(task="market.forget_old_chain_minutes")
    assert task.crontab is not None
    assert (task.crontab.hour, task.crontab.minute, str(task.crontab.timezone)) == ("4", "10", settings.CELERY_TIMEZONE)


@pytest.mark.parametrize("entry", settings.CELERY_BEAT_SCHEDULE.values())
def test_every_scheduled_task_exists(entry: dict[str, str]) -> None:
    app.loader.import_default_modules()
    assert entry["task"] in app.tasks
