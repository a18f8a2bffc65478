"""Who is there: the streams, registrations and heartbeats of agents, and what becomes of the tasks that they hold.

A stream that ends leaves its agent a grace to connect again; then all running tasks that it holds have stalled. When a
server process ends, the agents that it served lose their streams at once and come back one by one: the grace is longer.
An agent that registers while it has no stream begins a new life, and what its old life held is lost.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings

from tracker import deadlines
from tracker.changes import (
    Change,
    Connected,
    Disconnected,
    Heartbeat,
    Outcome,
    Registered,
    ServerBegins,
    ServerLives,
)
from tracker.liveness import DISCONNECTED, RESTARTED, SILENT, agent_alive, mark
from tracker.models import Agent, Presence
from tracker.records import TaskRecord
from tracker.world import QUIET, World

AWAY, UNHEARD, SERVER_GONE = "agent.away", "agent.unheard", "server.gone"
SERVER_SECONDS = 30  # after which a server process that does not say that it lives counts as dead
MOST = 1000  # tasks that are marked in one transaction
_SAME_MOMENT = timedelta(seconds=0.5)  # a heartbeat may be on its way when its agent dies


def connected(world: World, change: Connected) -> Outcome:
    """The agent is there, with this stream."""
    one = _presence(change, name=change.name)
    again = bool(one.connection) and one.connection != change.connection
    if again and one.registered_at and one.connected_at and one.registered_at > one.connected_at:
        _begin_anew(world, one)  # its old stream has not been seen to end
    elif not one.connection or again:
        agent_alive(world, _held(world, one, "AND stalled"), f"{one.agent_id} is connected again")
    if not one.connection or again:
        world.back.append((one.workspace_id, one.tenant_id, one.agent_id))
    one.name, one.connection, one.process = change.name, change.connection, change.process
    one.connected_at, one.lost_at, one.silent_at = world.now, None, None
    one.save()
    world.deadlines[(AWAY, one.pk)] = None
    _await_heartbeat(world, one)
    return Outcome("recorded")


def disconnected(world: World, change: Disconnected) -> Outcome:
    """A stream of the agent has ended; that matters if it was its newest."""
    one = _presence(change)
    if one.connection != change.connection:
        return Outcome("duplicate")
    one.connection = change.heir
    if not change.heir:
        _lost(world, one)
    one.save()
    return Outcome("recorded")


def _lost(world: World, one: Presence) -> None:
    one.lost_at = world.now
    grace = timedelta(seconds=settings.STALL_GRACE_SECONDS)
    world.deadlines[(UNHEARD, one.pk)] = None
    new = one.registered_at and one.connected_at and one.registered_at > one.connected_at
    if new and one.registered_at and world.now - one.registered_at < grace:
        _begin_anew(world, one)  # it died, and was started again before its stream was seen to end
    else:
        world.deadlines[(AWAY, one.pk)] = world.now + grace


def registered(world: World, change: Registered) -> Outcome:
    """The agent has registered. While its stream is open that is the same life, which registers once more."""
    one = _presence(change, name=change.name)
    if one.registered_at and not one.connection:
        _begin_anew(world, one)
    one.name, one.registered_at = change.name, world.now
    one.save()
    _await_heartbeat(world, one)
    return Outcome("recorded")


def heartbeat(world: World, change: Heartbeat) -> Outcome:
    """The agent is alive, whatever its stream does."""
    one = _presence(change)
    one.beats, one.silent_at = True, None
    one.save()
    agent_alive(world, _held(world, one, "AND stalled"), f"{one.agent_id} has sent a heartbeat")
    if one.connection:
        _await_heartbeat(world, one)
    else:
        world.deadlines[(AWAY, one.pk)] = world.now + timedelta(seconds=settings.HEARTBEAT_GRACE_SECONDS)
    return Outcome("recorded")


def is_news(one: Presence) -> bool:
    """Whether a heartbeat of this agent has to be recorded as a change."""
    return one.connected_at is not None and (not one.beats or one.silent_at is not None or not one.connection)


def server_begins(world: World, change: ServerBegins) -> Outcome:
    """A process has started. If it is the only one, nobody could reach the server meanwhile: all get a grace."""
    others = Presence.objects.exclude(connection="").exclude(process=change.process)
    if change.alone or not deadlines.pending(SERVER_GONE, after=world.now):
        _lose_all(world, others)
        deadlines.put_off_until(_after_start(world), {AWAY, UNHEARD, QUIET})
    if not change.alone:
        _say_alive(world, change.process)
    return Outcome("recorded")


def server_lives(world: World, change: ServerLives) -> Outcome:
    """A process, one of several, is there."""
    dead = not deadlines.pending(SERVER_GONE, subject=change.process)
    _say_alive(world, change.process)
    return Outcome("recorded", value=dead)


def _say_alive(world: World, process: int) -> None:
    world.deadlines[(SERVER_GONE, process)] = world.now + timedelta(seconds=SERVER_SECONDS)


def _server_gone(world: World, process: int) -> None:
    _lose_all(world, Presence.objects.exclude(connection="").filter(process=process))


def _lose_all(world: World, some: "Iterable[Presence]") -> None:
    """The streams of these agents ended with their server process."""
    keys = sorted(one.pk for one in some)
    for start in range(0, len(keys), 500):
        Presence.objects.filter(pk__in=keys[start : start + 500]).update(connection="", lost_at=world.now)
    for key in keys:
        world.deadlines[(AWAY, key)] = _after_start(world)
        world.deadlines[(UNHEARD, key)] = None


def _after_start(world: World) -> datetime:
    return world.now + timedelta(seconds=settings.START_GRACE_SECONDS)


# --- deadlines --------------------------------------------------------------------------------------------------------


def _away(world: World, key: int) -> None:
    """The grace of an agent is over: unless it is back, or sends heartbeats, what it holds has stalled."""
    one = Presence.objects.filter(pk=key, connection="").first()
    if one is None or one.lost_at is None:
        return
    heard = _heard_at(one)
    alive_until = heard + timedelta(seconds=settings.HEARTBEAT_GRACE_SECONDS) if heard else world.now
    if heard and heard > one.lost_at + _SAME_MOMENT and alive_until > world.now:
        world.deadlines[(AWAY, key)] = alive_until
        return
    if _mark_held(world, one, DISCONNECTED, f"the connection of {one.agent_id} was lost"):
        world.deadlines[(AWAY, key)] = world.now  # more of them follow


def _unheard(world: World, key: int) -> None:
    """An agent that has a stream and should send heartbeats: it has stalled when there are none."""
    one = Presence.objects.filter(pk=key).exclude(connection="").first()
    if one is None or (due := _heartbeat_due(one)) is None:
        return
    if due <= world.now:
        if one.silent_at is None:
            Presence.objects.filter(pk=key).update(silent_at=world.now)
        _mark_held(world, one, SILENT, f"no heartbeat of {one.agent_id} for {_patience(one).total_seconds():g} s")
        due = world.now + _patience(one)  # it may be given more
    world.deadlines[(UNHEARD, key)] = due


def _await_heartbeat(world: World, one: Presence) -> None:
    if one.connection and (due := _heartbeat_due(one)):
        world.deadlines[(UNHEARD, one.pk)] = max(due, world.now + _patience(one))


def _heartbeat_due(one: Presence) -> datetime | None:
    heard = _heard_at(one)
    return heard + _patience(one) if heard else None


def _patience(one: Presence) -> timedelta:
    """Who has never sent a heartbeat may be one that only registers now and then."""
    return timedelta(seconds=settings.HEARTBEAT_GRACE_SECONDS if one.beats else settings.AGENT_TTL_SECONDS)


def _heard_at(one: Presence) -> datetime | None:
    """The last heartbeat or registration."""
    own = Agent.objects.filter(workspace_id=one.workspace_id, agent_id=one.agent_id, tenant_id=one.tenant_id)
    return own.values_list("heartbeat_at", flat=True).first()


def _lock(world: World, keys: list[int]) -> None:
    list(Presence.objects.select_for_update().filter(pk__in=keys).order_by("pk").values_list("pk"))


# --- what an agent holds ----------------------------------------------------------------------------------------------


def _begin_anew(world: World, one: Presence) -> None:
    one.life += 1
    one.beats, one.silent_at = False, None
    world.deadlines[(AWAY, one.pk)] = None
    for task in _held(world, one):
        mark(world, task, RESTARTED, f"{one.agent_id} was started anew")


def _mark_held(world: World, one: Presence, stall: str, why: str) -> bool:
    """Mark what the agent holds; whether there is more."""
    tasks = _held(world, one, "AND NOT stalled", limit=MOST)
    for task in tasks:
        mark(world, task, stall, why)
    return len(tasks) >= MOST


def _held(world: World, one: Presence, more: str = "", limit: int = 0) -> list[TaskRecord]:
    """The running tasks that an agent holds, as this batch knows them."""
    # As the index of open tasks has them.
    where = "workspace_id = %s AND state = 'running' AND agent_id = %s AND ended_at IS NULL"
    values: list[object] = [one.workspace_id, one.agent_id]
    if one.tenant_id:
        where, values = f"{where} AND tenant_id = %s", [*values, one.tenant_id]
    world.find_tasks(f"{where} {more}", values, tail=f"ORDER BY id LIMIT {limit}" if limit else "ORDER BY id")
    mine = (t for t in world.tasks.values() if t.agent_id == one.agent_id and t.workspace_id == one.workspace_id)
    return [t for t in mine if t.state == "running" and one.tenant_id in ("", t.tenant_id)]


def _presence(change: Change, name: str = "") -> Presence:
    """What is known of the agent, locked."""
    agent_id: str = change.agent_id  # type: ignore[attr-defined]
    one, _ = Presence.objects.select_for_update().get_or_create(
        workspace_id=change.workspace_id, tenant_id=change.tenant_id, agent_id=agent_id, defaults={"name": name}
    )
    return one


deadlines.register(AWAY, _away, load=_lock)
deadlines.register(UNHEARD, _unheard, load=_lock)
deadlines.register(SERVER_GONE, _server_gone)
