"""All runs, one after the other, each a process of its own; 1 when one of them found a fault."""

import subprocess
import sys
import time

RUNS = (
    "soak.shortage",
    "soak.crash --database sqlite --kills 100 --ledger-kills 50",
    "soak.crash --database postgresql --kills 100 --database-kills 10 --redis-kills 10 --ledger-kills 50",
    "soak.live --seconds 300",
    "soak.browser --rounds 3",
)


def main() -> int:
    """Run them and say which were good."""
    faulty = []
    for run in RUNS:
        print(f"\npython -m {run}", flush=True)
        began = time.monotonic()
        if subprocess.run([sys.executable, "-m", *run.split()], check=False).returncode:
            faulty.append(run)
        print(f"  {time.monotonic() - began:.0f} s", flush=True)
    print("\n" + (f"FAULTS in {', '.join(faulty)}" if faulty else f"{len(RUNS)} runs without a fault"))
    return bool(faulty)


if __name__ == "__main__":
    sys.exit(main())
