"""Agents of the real SDK that are started together, and the gates that hold their work up."""

from pathlib import Path

from tests.services.agents import AgentProcess
from tests.services.process import ROOT

AGENTS = Path(__file__).parent / "agents"
EXAMPLES = ROOT / "examples"
CONNECTED = "Connected to Event Service"


class Company:
    """Agents against `server` with `key`, by their name; they are connected when `hire` returns."""

    def __init__(self, server, key, folder):
        self.server, self.key, self.folder = server, key, folder
        self.agents = {}

    def hire(self, **agents):
        """Start agents side by side: name=(path, arguments...)."""
        new = {
            name: AgentProcess(self.server, path, self.key, *map(str, arguments), EXAMPLE_PACE="0")
            for name, (path, *arguments) in agents.items()
        }
        self.agents |= new
        for agent in new.values():
            agent.process.start()
        for agent in new.values():
            agent.wait_for_output(CONNECTED, 60)

    def gated(self, name, *types):
        """How to start a worker whose work can be held up."""
        return AGENTS / "gated_worker.py", name, ",".join(types), self.folder

    def close_gate(self, *names):
        for name in names:
            (self.folder / f"{name}.closed").touch()

    def open_gate(self, *names):
        for name in names:
            (self.folder / f"{name}.closed").unlink()

    def __getitem__(self, name):
        return self.agents[name]

    def dismiss(self):
        """End those that run; each must end well."""
        try:
            for agent in self.agents.values():
                if agent.process.running:
                    agent.stop()
        finally:
            for agent in self.agents.values():
                agent.close()

    def output(self):
        return "\n".join(f"--- {name}\n{agent.output}" for name, agent in self.agents.items())
