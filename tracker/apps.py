"""Facts: plans, tasks, agents, the event log, the bus, the queries, the live pages and the push."""

from django.apps import AppConfig


class TrackerConfig(AppConfig):
    """The app's registration."""

    name = "tracker"

    def ready(self) -> None:
        """Failures are written down by the ledger when they happen; metrics and log look on at each commit."""
        # Models must be loaded first.
        from tracker import batch_log, failures, ledger, observers, prometheus

        ledger.register_witness(failures.keep)
        observers.register_observer(prometheus.observe)
        observers.register_observer(batch_log.told)
