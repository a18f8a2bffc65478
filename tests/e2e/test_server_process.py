import re

import httpx
import pytest

from tests.services.process import Process, clean_environment
from tests.services.redis import free_port
from tests.services.waiting import wait_until

STREAM = "/v1/events/stream?topics=system-events&agent_id=listener&agent_name=listener"


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_open_streams_end_cleanly_with_the_server(start_server, kind):
    server = start_server(server=kind)
    with server.client(server.api_key()) as client, client.stream("GET", STREAM) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "event: connected"
        server.stop()
        # A chunked answer that is cut off raises here.
        list(lines)


def test_keys_outlive_the_server(start_server):
    server = start_server()
    key = server.api_key()
    server.kill()
    server.start()
    with server.client() as client:
        assert client.get("/v1/agents").status_code == 401
    with server.client(key) as client:
        assert client.get("/v1/agents").json() == {"agents": [], "count": 0}


def test_two_servers_share_postgresql_and_redis(start_server, postgres, redis):
    shared = {"DATABASE_URL": postgres.new_database(), "REDIS_URL": redis.url}
    one, two = start_server(**shared), start_server(server="uvicorn", **shared)
    key = one.api_key()
    for server in (one, two):
        with server.client(key) as client:
            assert client.get("/ready").status_code == 200
            assert client.get("/v1/agents").status_code == 200


def test_make_run_gives_a_dashboard_and_keeps_its_data(tmp_path):
    port = str(free_port())
    make = Process(["make", "run"], env=clean_environment(SOORMA_DATA_DIR=str(tmp_path), PORT=port))
    base_url = f"http://127.0.0.1:{port}"
    with make, httpx.Client(base_url=base_url, follow_redirects=True, trust_env=False) as browser:
        make.wait_for_output("/sign-in/", 120)
        wait_until(lambda: up(browser), 30, lambda: make.output)
        [link] = re.findall(rf"{base_url}/sign-in/\S+", make.output)
        assert browser.get(link).url.path == "/plans"
        make.stop()
        make.start()
        wait_until(lambda: up(browser), 30, lambda: make.output)
        assert browser.get("/plans").url.path == "/plans"
        make.stop()


def up(browser):
    try:
        return browser.get("/health").status_code == 200
    except httpx.TransportError:
        return False
