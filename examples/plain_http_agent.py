"""An agent with nothing but Python's standard library: it registers, listens, and answers `tyres.check.requested`."""

import json
import os
from time import time
from urllib.request import Request, urlopen
from uuid import uuid4

URL = os.environ.get("SOORMA_EVENT_SERVICE_URL", "http://localhost:8000")
NAME, ME, TYPE = "tyre-checker", f"tyre-checker-{uuid4().hex[:8]}", "tyres.check.requested"


def call(path, body=None):
    """GET, or POST when there is a body; errors raise."""
    headers = {"Authorization": f"Bearer {os.environ['SOORMA_TOKEN']}", "Content-Type": "application/json"}
    return urlopen(Request(URL + path, json.dumps(body).encode() if body else None, headers))


def register():
    """Say who we are and what we take: a request that is handed to us from now on is shown as running."""
    agent = {"agentId": ME, "name": NAME, "description": "Checks tyres, without an SDK", "capabilities": []}
    call("/v1/agents", {"agent": {**agent, "consumedEvents": [TYPE], "producedEvents": ["tyres.check.completed"]}})
    return time() + 60  # when to say it again: who is not heard of for five minutes counts as gone


def answer(request):
    """Send the result: the same correlation ties it to its request, whose task is completed by it."""
    envelope = {key: request.get(key) for key in ("correlation_id", "tenant_id", "user_id", "plan_id")}
    data = {"status": "completed", "result": {"vehicle": request["data"].get("vehicle"), "tread_mm": 4.5}}
    result = {"source": NAME, "topic": "action-results", "type": request["response_event"], "data": data}
    call("/v1/events/publish", {"event": envelope | result})
    print(f"{NAME:<18} answers for {request['data'].get('vehicle')}", flush=True)


say_again = register()
for line in call(f"/v1/events/stream?topics=action-requests&agent_id={ME}&agent_name={NAME}"):
    if line.startswith(b"data:") and (message := json.loads(line[5:])).get("type") == TYPE:
        answer(message)
    say_again = say_again if time() < say_again else register()
