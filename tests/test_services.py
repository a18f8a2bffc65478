import subprocess
import sys

import psycopg
import pytest
import redis as redis_client

from tests.services.postgres import Postgres
from tests.services.process import ROOT
from tests.services.waiting import wait_until


def test_postgres_gives_each_test_a_database_of_its_own(postgres):
    one, two = postgres.new_database(), postgres.new_database()
    with psycopg.connect(one) as connection:
        connection.execute("CREATE TABLE only_here (id int)")
    with psycopg.connect(two) as connection:
        assert connection.execute("SELECT to_regclass('only_here')").fetchone() == (None,)


def test_durable_postgres_keeps_a_commit_through_a_crash():
    with Postgres(durable=True) as server:
        url = server.new_database()
        with psycopg.connect(url, autocommit=True) as connection:
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
            assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
            connection.execute("CREATE TABLE kept AS SELECT 1 AS id")
        server.crash()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)
        server.start()
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT id FROM kept").fetchone() == (1,)


def test_redis_answers(redis):
    with redis_client.Redis.from_url(redis.url) as client:
        client.set("test:services", "here", ex=10)
        assert client.get("test:services") == b"here"


def test_a_service_ends_with_the_test_run_that_started_it():
    code = """if True:
        import os, psycopg
        from tests.services.postgres import Postgres
        with Postgres(durable=True) as server:
            print(server.url, flush=True)
            os.kill(os.getpid(), 9)
    """
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    url = killed.stdout.strip()
    assert url.startswith("postgresql://"), killed.stderr

    def gone():
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            return True
        return False

    wait_until(gone, what="the end of an orphaned PostgreSQL")
