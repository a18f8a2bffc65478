"""The pages of planner."""

from django.urls import path

from planner import plan_pages, views

app_name = "planner"
urlpatterns = [
    path("new-plan", plan_pages.new_plan, name="new_plan"),
    path("approvals", views.approvals, name="approvals"),
    path("approvals/<str:approval_id>", views.approvals, name="approval"),
    path("approvals/<str:approval_id>/card", views.approval_card, name="approval_card"),
]
