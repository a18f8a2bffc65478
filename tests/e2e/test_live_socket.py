"""The live socket of a real server, over the network, under Daphne and under Uvicorn."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.services.server import ServerProcess

PATIENCE = 20
TICKETS = "/v1/live-tickets"


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def site(request):
    """A server of each kind."""
    with ServerProcess(server=request.param) as process:
        yield process


@pytest.fixture
def key(site, workspace):
    return site.api_key(workspace)


class Socket:
    """A client of the live socket."""

    def __init__(self, site, key="", query="", headers=None, **options):
        headers = headers or ({"Authorization": f"Bearer {key}"} if key else {})
        url = site.live_url + query
        self.opening = connect(url, additional_headers=headers, proxy=None, max_size=None, **options)

    def __enter__(self):
        self.socket = self.opening.__enter__()
        return self

    def __exit__(self, *error):
        self.opening.__exit__(*error)

    def say(self, **frame):
        self.socket.send(json.dumps(frame))

    def hear(self):
        return json.loads(self.socket.recv(PATIENCE))

    def hear_op(self, op):
        while (frame := self.hear())["op"] != op:
            pass
        return frame

    def subscribe(self, stream, **more):
        self.say(op="sub", stream=stream, **more)
        return self.hear()

    def follow(self, seq, last):
        """The seqs of the rows that come, until `last`."""
        seen = []
        while seq < last:
            seen += [row["seq"] for row in self.hear_op("rows")["rows"]]
            seq = seen[-1]
        return seen

    def closed(self):
        """The code that the server closes with."""
        try:
            while True:
                self.socket.recv(PATIENCE)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None


def note(plan_id, **data):
    envelope = {"topic": "business-facts", "type": "note.taken", "source": "planner", "plan_id": plan_id, "data": data}
    return {"id": str(uuid4()), **envelope, "tenant_id": "acme", "user_id": "alice"}


def publish(client, event):
    answer = client.post("/v1/events/publish", json={"event": event})
    assert answer.status_code == 200, answer.text
    return answer


def last_seq(client, plan_id):
    return client.get(f"/v1/tracker/plans/{plan_id}").json()["seq"]


def test_rows_of_a_busy_plan_arrive_once_and_in_order(site, key):
    plan_id = f"plan-{uuid4().hex}"
    with site.client(key) as client, Socket(site, key) as early:
        publish(client, note(plan_id))
        start = early.subscribe(f"plan:{plan_id}")["seq"]
        with ThreadPoolExecutor(4) as pool:
            done = [pool.submit(publish, client, note(plan_id, n=number)) for number in range(100)]
            with Socket(site, key) as late:
                first = late.subscribe(f"plan:{plan_id}")
            for each in done:
                each.result()
        last = last_seq(client, plan_id)
        assert last - start >= 100
        assert early.follow(start, last) == list(range(start + 1, last + 1))
        with Socket(site, key) as back:
            rows = back.subscribe(f"plan:{plan_id}", after=first["seq"])["rows"]
            assert [row["seq"] for row in rows] == list(range(first["seq"] + 1, last + 1))


def test_plans_are_told_as_they_begin(site, key):
    plan_id = f"plan-{uuid4().hex}"
    with site.client(key) as client, Socket(site, key) as live:
        assert live.subscribe("plans")["data"]["items"] == []
        publish(client, note(plan_id))
        assert [item["plan_id"] for item in live.hear_op("patch")["items"]] == [plan_id]


def test_agents_are_told_as_they_connect(site, key):
    agent = {"agent_id": "w-1", "name": "worker:1.0.0", "description": "", "capabilities": []}
    stream = "/v1/events/stream?topics=action-requests&agent_id=w-1&agent_name=worker"
    with site.client(key) as client, Socket(site, key) as live:
        assert live.subscribe("agents")["data"]["items"] == []
        answer = client.post("/v1/agents", json={"agent": agent})
        assert answer.status_code == 200, answer.text
        assert [(one["agent_id"], one["connected"]) for one in live.hear_op("patch")["items"]] == [("w-1", False)]
        with client.stream("GET", stream):
            assert [one["connected"] for one in live.hear_op("patch")["items"]] == [True]
        assert [one["connected"] for one in live.hear_op("patch")["items"]] == [False]


def test_a_ticket_opens_one_socket(site, key):
    with site.client(key) as client:
        ticket = client.post(TICKETS).json()["ticket"]
    with Socket(site, query=f"?ticket={ticket}") as live:
        assert live.subscribe("plans")["op"] == "snapshot"
    with Socket(site, query=f"?ticket={ticket}") as live:
        assert live.closed() == 4401


def test_a_signed_in_page_of_ours_and_no_other(site, workspace):
    site.member("alice", workspace, "viewer")
    with site.client() as browser:
        assert browser.get(site.sign_in_link("alice")).status_code == 302
        cookie = {"Cookie": f"sessionid={browser.cookies['sessionid']}"}
    with Socket(site, headers=cookie, origin=site.base_url) as live:
        assert live.subscribe("plans")["op"] == "snapshot"
    with pytest.raises(InvalidStatus) as refused, Socket(site, headers=cookie, origin="https://evil.example"):
        pass
    assert refused.value.response.status_code == 403


def test_nobody_else_is_let_in(site):
    with Socket(site, headers={"X-Nobody": "1"}) as live:
        assert live.closed() == 4401


def deaf(site, key):
    """A client that takes from the network only what is asked of it, and little more."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    sock.connect(("127.0.0.1", site.port))
    return Socket(site, key, sock=sock, max_queue=1, compression=None)


def test_a_reader_that_stops_is_told_to_begin_again_and_others_go_on(site, key):
    """20 MB are more than both ends of a connection hold; so the server has to drop what is unread, and says so."""
    plan_id, text = f"plan-{uuid4().hex}", "x" * 500_000
    with site.client(key) as client, Socket(site, key) as quick, deaf(site, key) as slow:
        publish(client, note(plan_id))
        start = quick.subscribe(f"plan:{plan_id}")["seq"]
        slow.say(op="sub", stream=f"plan:{plan_id}", after=start)
        with ThreadPoolExecutor(1) as pool:
            heard = pool.submit(quick.follow, start, start + 40)
            for number in range(40):
                publish(client, note(plan_id, n=number, text=text))
            assert heard.result() == list(range(start + 1, start + 41))
        ops, seqs = [], []
        while "resync" not in ops:
            frame = slow.hear()
            ops.append(frame["op"])
            seqs += [row["seq"] for row in frame.get("rows", ())]
        assert frame["reason"] == "overflow"
        assert seqs == list(range(start + 1, start + 1 + len(seqs)))
        assert len(seqs) < 40
        assert slow.hear()["seq"] == start + 40
        publish(client, note(plan_id))
        assert slow.follow(start + 40, start + 41) == [start + 41]


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_a_server_that_ends_closes_its_sockets_properly(start_server, kind):
    server = start_server(server=kind)
    key = server.api_key()
    with Socket(server, key) as live:
        live.subscribe("plans")
        server.stop()
        assert live.closed() == 1012


def test_who_signs_out_loses_the_socket(site, workspace):
    site.member("bob", workspace, "admin")
    with site.client() as browser:
        browser.get(site.sign_in_link("bob"))
        cookie = {"Cookie": f"sessionid={browser.cookies['sessionid']}"}
        with Socket(site, headers=cookie, origin=site.base_url) as live:
            live.subscribe("plans")
            browser.post("/sign-out", headers={"X-CSRFToken": browser.cookies.get("csrftoken", "")})
            assert live.closed() == 4401
