"""The settings pages of planner: webhooks for admins, notifications for everybody."""

from django.urls import path

from planner import settings_pages as pages

app_name = "outgoing"
urlpatterns = [
    path("notifications", pages.notifications, name="notifications"),
    path("webhooks", pages.webhooks, name="webhooks"),
    path("webhooks/<str:webhook_id>", pages.webhook, name="webhook"),
    path("webhooks/<str:webhook_id>/deliveries", pages.deliveries, name="deliveries"),
    path("webhooks/<str:webhook_id>/test", pages.test, name="test"),
    path("webhooks/<str:webhook_id>/switch", pages.switch, name="switch"),
    path("webhooks/<str:webhook_id>/rotate", pages.rotate, name="rotate"),
    path("webhooks/<str:webhook_id>/remove", pages.remove, name="remove"),
    path("webhooks/<str:webhook_id>/deliveries/<str:delivery_id>/resend", pages.resend, name="resend"),
]
