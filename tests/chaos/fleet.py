"""Fleet: the workers of a storm, as processes that are killed, paused, ended and replaced."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos import processes
from worker.embedded import WorkerProcess, command

# A worker that was asked to end and has not after this long is killed.
MOST_STOP_SECONDS = 25.0

READY = " ready."  # what Celery says once it takes messages

HOST = "@chaos"  # ends the name of each worker, and so is in each one's command line


@dataclass(frozen=True, slots=True)
class Post:
    """A place in the fleet that is always to be filled again."""

    name: str
    queues: str
    pool: str
    concurrency: int


POSTS = (
    Post("exports-a", "exports", "prefork", 2),
    Post("exports-b", "exports", "threads", 3),
    Post("downloads-a", "downloads", "prefork", 2),
    Post("downloads-b", "downloads", "threads", 3),
    Post("both", "exports,downloads", "threads", 4),
)
FEW_POSTS = (
    Post("exports", "exports", "threads", 3),
    Post("downloads", "downloads", "threads", 3),
    Post("both", "exports,downloads", "prefork", 3),
)


@dataclass(slots=True)
class Hand:
    """One worker process at a post; the next one there has another name."""

    name: str
    post: Post
    process: WorkerProcess
    log: Path
    is_paused: bool = False
    asked_to_end: float | None = None  # by the monotonic clock

    @property
    def pid(self) -> int:
        """Its process id, and the id of its group and of its session."""
        return self.process.process.pid

    @property
    def is_ready(self) -> bool:
        """Whether it has begun to take messages."""
        return READY in self.log.read_text(errors="replace")


@dataclass(frozen=True, slots=True)
class Kill:
    """That a worker, or one child of it, was killed; `ports` are the child's."""

    at: datetime
    hand: str
    ports: frozenset[int] | None = None


@dataclass(slots=True)
class Fleet:
    """All posts, who is at them, and what became of whom.

    Attributes:
        environment: gives a worker's variables, by its name.
        logs: the folder of their logs, one each.
        posts: by name.
        at_work: by the post's name.
        kills: in order.
        stops: seconds from being asked to end until the end, by the worker's name.
        deaths: what is known of each worker that ended unasked.
        sessions: of every worker there ever was.
    """

    environment: Callable[[str], Mapping[str, str]]
    logs: Path
    posts: Mapping[str, Post]
    at_work: dict[str, Hand] = field(default_factory=dict)
    leaving: list[Hand] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    stops: dict[str, float] = field(default_factory=dict)
    deaths: list[str] = field(default_factory=list)
    sessions: set[int] = field(default_factory=set)
    _started: int = 0

    def staff(self, post_name: str) -> None:
        """See to it that somebody is at this post."""
        if post_name in self.at_work:
            return
        post = self.posts[post_name]
        self._started += 1
        name = f"{post.name}.{self._started}"
        arguments = command(queues=post.queues, pool=post.pool, concurrency=post.concurrency)
        log = self.logs / f"{name}.log"
        with log.open("wb") as output:
            process = WorkerProcess(
                [*arguments, "--hostname", name + HOST],
                environment=self.environment(name),
                output=output,
            )
        self.at_work[post_name] = Hand(name, post, process, log)
        self.sessions.add(process.process.pid)

    def staff_all(self) -> None:
        """See to it that somebody is at each post, and nobody is paused."""
        for post_name in self.posts:
            self.resume(post_name)
            self.staff(post_name)

    def are_ready(self) -> bool:
        """Return whether everybody at work takes messages."""
        return all(hand.is_ready for hand in self.at_work.values())

    def kill(self, post_name: str) -> bool:
        """Kill the worker at a post with all its children; False if nobody is there."""
        hand = self.at_work.pop(post_name, None)
        if hand is None:
            return False
        self._kill(hand)
        return True

    def _kill(self, hand: Hand) -> None:
        at = datetime.now(UTC)
        os.killpg(hand.pid, signal.SIGKILL)
        hand.process.process.wait()
        self.kills.append(Kill(at, hand.name))

    def kill_child(self, post_name: str, number: int) -> bool:
        """Kill one child of the worker at a post; False if there is none that runs.

        Celery gives a worker up that loses a child before it is ready; that is left to whoever
        keeps the worker, and not tried here.
        """
        hand = self.at_work.get(post_name)
        if hand is None or hand.is_paused or not hand.is_ready:
            return False
        if not (children := processes.children(hand.pid)):
            return False
        child = children[number % len(children)]
        ports = frozenset(processes.ports(child))
        at = datetime.now(UTC)
        os.kill(child, signal.SIGKILL)
        self.kills.append(Kill(at, hand.name, ports))
        return True

    def pause(self, post_name: str) -> str | None:
        """Stop the worker at a post as SIGSTOP does; returns its name, or None for nobody."""
        hand = self.at_work.get(post_name)
        if hand is None or hand.is_paused:
            return None
        os.killpg(hand.pid, signal.SIGSTOP)
        hand.is_paused = True
        return hand.name

    def resume(self, post_name: str, name: str | None = None) -> None:
        """Let the worker at a post (only the one of this name, if given) go on."""
        hand = self.at_work.get(post_name)
        if hand is not None and hand.is_paused and name in {None, hand.name}:
            os.killpg(hand.pid, signal.SIGCONT)
            hand.is_paused = False

    def terminate(self, post_name: str) -> bool:
        """Ask the worker at a post to end; False if nobody is there that could hear it."""
        hand = self.at_work.get(post_name)
        if hand is None or hand.is_paused:
            return False
        del self.at_work[post_name]
        hand.asked_to_end = time.monotonic()
        hand.process.process.send_signal(signal.SIGTERM)
        self.leaving.append(hand)
        return True

    def look(self) -> None:
        """Note who has ended, asked or unasked; fill the posts of the latter again."""
        for hand in list(self.leaving):
            waited = time.monotonic() - (hand.asked_to_end or 0.0)
            if hand.process.process.poll() is None and waited < MOST_STOP_SECONDS:
                continue
            if hand.process.process.poll() is None:
                self._kill(hand)
            self.stops[hand.name] = waited
            self.leaving.remove(hand)
        for post_name, hand in list(self.at_work.items()):
            if (status := hand.process.process.poll()) is not None:
                self.deaths.append(f"{hand.name} ended by itself with status {status}")
                del self.at_work[post_name]
                self.staff(post_name)

    def end(self) -> None:
        """Kill every process of every worker that there ever was; nobody is left."""
        for hand in (*self.at_work.values(), *self.leaving):
            if hand.process.process.poll() is None:
                os.killpg(hand.pid, signal.SIGKILL)
                hand.process.process.wait()
        self.at_work.clear()
        self.leaving.clear()
        for seen in self.left():
            os.kill(seen.pid, signal.SIGKILL)

    def left(self) -> list[processes.Seen]:
        """Return the processes of ours that live though nobody is at work any more."""
        known = {hand.pid for hand in (*self.at_work.values(), *self.leaving)}
        seen = processes.of_sessions(self.sessions - known)
        # Linux uses ids again: what else is in a session of that id is not ours
        return [each for each in seen if HOST in each.command]
