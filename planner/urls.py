"""The pages of planner."""

from django.urls import path

from planner import views

app_name = "planner"
urlpatterns = [
    path("approvals", views.approvals, name="approvals"),
    path("approvals/<str:approval_id>", views.approvals, name="approval"),
    path("approvals/<str:approval_id>/card", views.approval_card, name="approval_card"),
]
