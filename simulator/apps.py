from django.apps import AppConfig


class SimulatorConfig(AppConfig):
    """Installed only so that `manage.py run_simulator` is found: no models, no URLs, no import of another app."""

    name = "simulator"
