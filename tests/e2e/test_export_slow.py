"""A long log is taken away by somebody who reads slowly: the server does not hold it in the meantime."""

import json
import socket
from pathlib import Path

import pytest

from tests.e2e.plain import Tenant
from tests.services.waiting import wait_until

ROWS, TEXT = 2_000, "x" * 20_000  # 40 MB in all


def memory(server):
    """Resident memory in MB."""
    return int(Path(f"/proc/{server.pid}/statm").read_text().split()[1]) * 4096 / 1e6


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_a_slow_reader_gets_all_of_it_and_costs_little(start_server, kind):
    server = start_server(server=kind)
    tenant = Tenant(server, "default")
    for first in range(0, ROWS, 200):
        events = [
            tenant.envelope("business-facts", "thing.seen", {"n": n, "text": TEXT}, plan_id="long")
            for n in range(first, first + 200)
        ]
        assert tenant.http.post("/v1/events/batch", json=events).status_code == 200
    before = memory(server)
    with socket.create_connection(("127.0.0.1", server.port)) as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        request = (
            "GET /v1/tracker/plans/long/export?format=ndjson HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Authorization: Bearer {tenant.key}\r\n\r\n"
        )
        reader.sendall(request.encode())
        parts = [reader.recv(65_536)]
        settled = []

        def still():
            settled.append(memory(server))
            return len(settled) > 5 and max(settled[-5:]) - min(settled[-5:]) < 1

        wait_until(still, 20, "memory that stays as it is")
        held = memory(server) - before
        while part := reader.recv(1 << 20):
            parts.append(part)
    got = b"".join(parts)
    print(f"{kind}: {held:.1f} MB held of {len(got) / 1e6:.0f}")  # noqa: T201 - for the reader of the run
    assert held < 20
    head, _, body = got.partition(b"\r\n\r\n")
    lines = _unchunked(body).splitlines()
    assert f"soorma-plan-seq: {len(lines)}".encode() in head.lower()
    assert [json.loads(line)["seq"] for line in lines] == list(range(1, len(lines) + 1))
    tenant.close()


def _unchunked(body):
    parts, at = [], 0
    while at < len(body):
        end = body.index(b"\r\n", at)
        length = int(body[at:end], 16)
        parts.append(body[end + 2 : end + 2 + length])
        at = end + 2 + length + 2
    return b"".join(parts)
