"""The pages of accounts."""

from django.urls import path
from django.views.generic import RedirectView

from accounts.views import keys, members, sign_in

app_name = "accounts"
urlpatterns = [
    path("sign-in", sign_in.sign_in, name="sign_in"),
    path("sign-in/<str:secret>", sign_in.redeem, name="redeem"),
    path("sign-out", sign_in.sign_out, name="sign_out"),
    path("workspace", sign_in.choose_workspace, name="workspace"),
    path("settings", RedirectView.as_view(pattern_name="accounts:keys"), name="settings"),
    path("settings/keys", keys.keys, name="keys"),
    path("keys/new", keys.new_key, name="new_key"),
    path("settings/keys/<int:key_id>/revoke", keys.revoke_key, name="revoke_key"),
    path("settings/members", members.members, name="members"),
    path("settings/members/new", members.new_member, name="new_member"),
    path("settings/members/<int:membership_id>/role", members.change_role, name="change_role"),
    path("settings/members/<int:membership_id>/remove", members.remove_member, name="remove_member"),
    path("settings/members/<int:membership_id>/link", members.member_link, name="member_link"),
]
