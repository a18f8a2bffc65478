"""`/ws/agent` on the real servers: pipelined, bounded, and ended with the server."""

import json
import os
import signal
import threading

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.services.waiting import wait_until

MEGABYTE = 1024 * 1024


@pytest.fixture(params=["daphne", "uvicorn"])
def server(request, start_server):
    return start_server(server=request.param)


def an_event(number, plan_id="p", **data):
    return json.dumps(
        {
            "id": f"e-{number}",
            "source": "streamer",
            "type": "parts.counted",
            "topic": "business-facts",
            "tenant_id": "acme",
            "user_id": "alice",
            "plan_id": plan_id,
            "data": data,
        }
    )


def opened(server, key):
    return connect(
        server.live_url.replace("/ws/live", "/ws/agent"),
        additional_headers={"Authorization": f"Bearer {key}"},
        proxy=None,
        compression=None,
    )


def read_on(socket, acks):
    """Read until the server closes the socket."""
    while True:
        acks.append(json.loads(socket.recv(30)))


def logged(server, key, plan_id="p"):
    """Event ids of the plan's messages, by seq."""
    with server.client(key) as client:
        found, after = {}, 0
        while after is not None:
            page = client.get(f"/v1/tracker/plans/{plan_id}/log", params={"after": after, "limit": 1000}).json()
            found |= {item["seq"]: item["event_id"] for item in page["items"] if item["kind"] == "message"}
            after = page["next_after"]
        return found


def test_thousands_of_events_without_waiting(server):
    key = server.api_key()
    with opened(server, key) as socket:
        sending = threading.Thread(target=lambda: [socket.send(an_event(number)) for number in range(5000)])
        sending.start()
        acks = [json.loads(socket.recv(30)) for _ in range(5000)]
        sending.join()
    assert [ack["event_id"] for ack in acks] == [f"e-{number}" for number in range(5000)]
    assert {ack["outcome"] for ack in acks} == {"recorded"}
    assert logged(server, key) == {ack["seq"]: ack["event_id"] for ack in acks}


def test_who_does_not_read_its_acks_is_not_read_either(server):
    """What the server holds of a client stays bounded; nothing is lost once the client reads."""
    key = server.api_key()
    frames = [an_event(number, x="y" * 20_000) for number in range(2000)]
    with opened(server, key) as socket:
        sending = threading.Thread(target=lambda: [socket.send(frame) for frame in frames], daemon=True)
        sending.start()
        acks = [json.loads(socket.recv(60))["event_id"] for _ in range(len(frames))]
        sending.join()
    assert acks == [f"e-{number}" for number in range(2000)]


def test_a_frame_that_is_too_large_is_answered(server):
    with opened(server, server.api_key()) as socket:
        socket.send(an_event(1, x="y" * MEGABYTE))
        socket.send(an_event(2).encode())
        acks = [json.loads(socket.recv(30)) for _ in range(2)]
    assert [(ack["event_id"], ack["outcome"]) for ack in acks] == [(None, "invalid"), ("e-2", "recorded")]


def test_a_server_that_ends_says_so_and_has_all_that_it_acknowledged(server):
    key = server.api_key()
    acks = []
    with opened(server, key) as socket:
        stop = threading.Event()

        def send():
            try:
                for number in range(1_000_000):
                    if stop.is_set():
                        return
                    socket.send(an_event(number))
            except ConnectionClosed:
                pass

        sending = threading.Thread(target=send)
        sending.start()
        acks += [json.loads(socket.recv(30)) for _ in range(500)]
        os.kill(server.pid, signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            read_on(socket, acks)
        stop.set()
        sending.join()
    assert closed.value.rcvd.code == 1012
    wait_until(lambda: not server.process.running)
    assert server.process.returncode == 0
    server.start()
    recorded = logged(server, key)
    assert sorted(recorded) == list(range(min(recorded), max(recorded) + 1))
    assert {ack["seq"]: ack["event_id"] for ack in acks}.items() <= recorded.items()
