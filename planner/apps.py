"""Intent: goals and the contexts that the SDK stores. It changes tracker's world only through the ledger."""

from django.apps import AppConfig


class PlannerConfig(AppConfig):
    """The app's registration."""

    name = "planner"

    def ready(self) -> None:
        """Say what planner's changes, rules and deadlines mean."""
        from planner import approvals, declaring, engine, telling
        from planner.models import Approval
        from tracker import prometheus

        declaring.register()
        engine.register()  # before approvals: what it asks of people is put to them in the same batch
        approvals.register()
        telling.register()
        waiting = Approval.objects.filter(state=Approval.State.PENDING)
        prometheus.register_collector("approvals_waiting", "Questions that wait for a person", waiting.count)
