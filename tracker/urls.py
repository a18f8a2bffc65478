"""The pages of tracker."""

from django.conf import settings
from django.urls import path

from tracker import views

app_name = "tracker"
urlpatterns = [
    path("", views.home, name="home"),
    path("plans", views.plans, name="plans"),
    path("plans/<path:plan_id>", views.plan, name="plan"),
    path("agents", views.agents, name="agents"),
]
if settings.DEBUG:
    urlpatterns.append(path("design", views.design, name="design"))
    path("agents/<path:name>", views.agent, name="agent"),
