"""Facts: plans, tasks, agents, the event log, the bus, the queries, the live pages and the push."""

from django.apps import AppConfig


class TrackerConfig(AppConfig):
    """The app's registration."""

    name = "tracker"

    def ready(self) -> None:
        """Metrics and log look on at each commit."""
        # Models must be loaded first.
        from tracker import batch_log, observers, prometheus

        observers.register_observer(prometheus.observe)
        observers.register_observer(batch_log.told)
