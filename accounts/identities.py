"""Who an outside user service's subject is here."""

from django.conf import settings
from django.db import models
from django.utils import timezone


class ExternalIdentity(models.Model):
    """Links a subject of an issuer to a user. A service gets a user of its own, without a password, and grants.

    Without such a row a token opens nothing, however good it is; deleting the row shuts its bearer out at once.
    """

    issuer = models.CharField(max_length=200, help_text="The `iss` of its tokens, as it stands in JWT_ISSUER.")
    subject = models.CharField("external subject", max_length=200, help_text="The `sub` of its tokens.")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="external_identities")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name_plural = "external identities"
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="accounts_identity_subject")]

    def __str__(self) -> str:
        return f"{self.subject} is {self.user}"
