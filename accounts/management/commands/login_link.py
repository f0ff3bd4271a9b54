from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse

from accounts.audit import Kind, acting_as, record
from accounts.models import LoginLink


class Command(BaseCommand):
    help = "Print a link that logs USER in once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user")
        parser.add_argument("--minutes", type=int, default=10, help="how long it is good for (default: 10)")

    def handle(self, *args: Any, user: str, minutes: int, **options: Any) -> None:
        person = User.objects.filter(username=user, is_active=True).first()
        if person is None:
            raise CommandError(f"there is no active user {user!r}; `manage.py createsuperuser` makes one")
        token = LoginLink.objects.issue(person, valid_for=timedelta(minutes=minutes))
        with acting_as("command:login_link"):
            record(Kind.LOGIN_LINK_MADE, person=person.get_username(), minutes=minutes)
        self.stdout.write(settings.WEB_ADDRESS + reverse("accounts:login-link", args=[token]))
