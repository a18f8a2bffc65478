"""The pages of tracker."""

from django.conf import settings
from django.urls import path

from tracker import failure_views, metric_views, views

app_name = "tracker"
urlpatterns = [
    path("", views.home, name="home"),
    path("plans", views.plans, name="plans"),
    path("plans/<path:plan_id>/explain", failure_views.story, name="story"),
    path("plans/<path:plan_id>", views.plan, name="plan"),
    path("failures", failure_views.failures, name="failures"),
    path("failures/each", failure_views.each_failure, name="each_failure"),
    path("metrics-page", metric_views.metrics, name="metrics"),
    path("agents", views.agents, name="agents"),
    path("agents/<path:name>", views.agent, name="agent"),
]
if settings.DEBUG:
    urlpatterns.append(path("design", views.design, name="design"))
