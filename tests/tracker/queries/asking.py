"""Asking the API as a client with a key does."""

from django.test import Client

from tests.accounts.factories import make_key

NOT_FOUND = (404, "not-found")
INVALID = (422, "invalid")


class Api:
    """A client with a key; paths are without /v1/tracker."""

    def __init__(self, workspace, tenant=None, user=None, scopes=("read",)):
        _, token = make_key(workspace, tenant_id=tenant, user_id=user, scopes=scopes)
        self.client, self.headers = Client(), {"Authorization": f"Bearer {token}"}

    def get(self, path, **query):
        return self.client.get(f"/v1/tracker{path}", query, headers=self.headers)

    def ok(self, path, **query):
        response = self.get(path, **query)
        assert response.status_code == 200, response.content
        return response.json()

    def problem(self, path, **query):
        response = self.get(path, **query)
        assert response["Content-Type"] == "application/problem+json"
        body = response.json()
        assert body["status"] == response.status_code
        return response.status_code, body["code"]
