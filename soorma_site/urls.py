"""Where everything is: the API under /v1, the pages, the probes."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from soorma_site.api import api
from soorma_site.probes import health, metrics, ready

urlpatterns = [
    path("health", health),
    path("ready", ready),
    path("metrics", metrics),
    path("v1/", api.urls),
    path("", include("accounts.urls")),
    path("settings/", include("planner.settings_urls")),
    path("", include("planner.urls")),
    path("", include("tracker.urls")),
]
if settings.DEBUG:
    urlpatterns.append(path("admin/", admin.site.urls))
