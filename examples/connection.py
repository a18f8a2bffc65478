"""Where the examples find the server and how fast they work; the SDK itself needs only its four variables and a token.

    export SOORMA_TOKEN=$(.venv/bin/python manage.py create_api_key --workspace default --tenant demo --user fleet)

The server is http://localhost:8000 unless the SDK's variables say another. SOORMA_TENANT (demo) and SOORMA_USER (fleet)
are for whom the client works, EXAMPLE_PACE (1) stretches or shortens the simulated work: 0 does it at once.
"""

import asyncio
import os
import random
import sys

URL = os.environ.get("SOORMA_EVENT_SERVICE_URL", "http://localhost:8000").rstrip("/")
TENANT = os.environ.get("SOORMA_TENANT", "demo")
USER = os.environ.get("SOORMA_USER", "fleet")
PACE = float(os.environ.get("EXAMPLE_PACE", "1"))

# One server speaks for all the services that the SDK knows; agents read these when they are made.
for service in ("REGISTRY", "EVENT_SERVICE", "MEMORY", "TRACKER"):
    os.environ.setdefault(f"SOORMA_{service}_URL", URL)


def token() -> str:
    """The API key of SOORMA_TOKEN; ends the program with a hint when there is none."""
    return os.environ.get("SOORMA_TOKEN") or sys.exit(
        "Set SOORMA_TOKEN to an API key: "
        "manage.py create_api_key --workspace default --tenant demo --user fleet prints one."
    )


async def work(least: float, most: float) -> None:
    """Stand in for real work: wait between `least` and `most` seconds."""
    await asyncio.sleep(PACE * random.uniform(least, most))


def say(who: str, what: str) -> None:
    """One line on stdout, at once."""
    print(f"{who:<18} {what}", flush=True)
