"""Events: what each disaster does to the world, and what undoes it.

Each function returns what is to happen later, or None where the event found nothing to strike. A
new kind of event is a function here, its name in EVENTS, and a card in a family of `schedule`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

from tests.chaos.schedule import Event
from tests.chaos.world import World

# In so many seconds from the event on, this is to be done.
Later = tuple[float, Callable[[], object]]
Outcome = Sequence[Later] | None


def kill(world: World, event: Event) -> Outcome:
    """Kill -9 of a worker with all its children; another takes its post."""
    post = str(event.post)
    return _staffed(world, event) if world.fleet.kill(post) else None


def terminate(world: World, event: Event) -> Outcome:
    """SIGTERM; another takes the post, whether the first has ended or not."""
    post = str(event.post)
    return _staffed(world, event) if world.fleet.terminate(post) else None


def kill_child(world: World, event: Event) -> Outcome:
    """Kill -9 of one child of a prefork worker."""
    return [] if world.fleet.kill_child(str(event.post), event.details["child"]) else None


def pause(world: World, event: Event) -> Outcome:
    """SIGSTOP, and SIGCONT when its claims have run out."""
    post = str(event.post)
    if (name := world.fleet.pause(post)) is None:
        return None
    return [(event.seconds, partial(world.fleet.resume, post, name))]


def _staffed(world: World, event: Event) -> list[Later]:
    return [(event.seconds, partial(world.fleet.staff, str(event.post)))]


def flush(world: World, _: Event) -> Outcome:
    """FLUSHALL: every message is gone."""
    return [] if world.broker.flush() else None


def cut_clients(world: World, _: Event) -> Outcome:
    """CLIENT KILL: every connection to the broker is cut."""
    return [] if world.broker.cut() else None


def broker_dies(world: World, event: Event) -> Outcome:
    """Kill -9 of the broker, which comes back empty."""
    return [(event.seconds, world.broker.start)] if world.broker.die() else None


def cut_sessions(world: World, _: Event) -> Outcome:
    """Every session of the workers' at the database is terminated."""
    return [] if world.database.cut() else None


def database_restarts(world: World, event: Event) -> Outcome:
    """The database is stopped, and started again."""
    return [(event.seconds, world.database.start)] if world.database.stop() else None


def read_only(world: World, event: Event) -> Outcome:
    """Nothing can be written to the database for a time."""
    if not world.database.read_only(value=True):
        return None
    return [(event.seconds, partial(_writable_again, world))]


def _writable_again(world: World) -> None:
    world.database.start()  # it may be down just then, and would come back read-only
    world.database.read_only(value=False)


def misbehave(world: World, event: Event) -> Outcome:
    """Uplynk fails in some way for a time."""
    details = event.details
    fault = world.misbehave(
        details["call"],
        details["fault"],
        probability=details["probability"],
        **details["parameters"],
    )
    return [(event.seconds, partial(world.behave, fault))]


EVENTS: Mapping[str, Callable[[World, Event], Outcome]] = MappingProxyType(
    {
        each.__name__: each
        for each in (
            kill,
            terminate,
            kill_child,
            pause,
            flush,
            cut_clients,
            broker_dies,
            cut_sessions,
            database_restarts,
            read_only,
            misbehave,
        )
    }
)


def calm(world: World) -> None:
    """Undo whatever is still bad: no fault, no pause, all services up, all posts staffed."""
    world.behave()
    world.broker.start()
    _writable_again(world)
    world.fleet.staff_all()
