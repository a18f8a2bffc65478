"""The pages of accounts."""

from django.urls import URLPattern, path

app_name = "accounts"
urlpatterns: list[URLPattern] = []
