"""Facts: plans, tasks, agents, the event log, the bus, the queries, the live pages and the push."""

from django.apps import AppConfig


class TrackerConfig(AppConfig):
    """The app's registration."""

    name = "tracker"
