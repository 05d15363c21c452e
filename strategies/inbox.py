"""The engine's inbox: what other threads hand over, and who still waits for an answer.

Web threads and signal handlers post commands, a pushing feed posts market events; the engine
thread alone takes them out. A command is answered once, by the engine thread.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from core.model import Command, CommandResult, MarketEvent, Outcome


@dataclass(slots=True)
class Ticket:
    """A command on its way through the engine, and the place where its asker waits."""

    command: Command
    done: threading.Event
    result: CommandResult | None = None

    def answer(self, result: CommandResult) -> None:
        self.result = result
        self.done.set()


class Inbox:
    """A queue of tickets and market events; `adjusting` is the ticket of an adjust under way."""

    def __init__(self) -> None:
        self.adjusting: Ticket | None = None
        self._queue: queue.SimpleQueue[Ticket | MarketEvent] = queue.SimpleQueue()

    def post(self, event: MarketEvent) -> None:
        """Put a market event in; any thread."""
        self._queue.put(event)

    def post_command(self, command: Command) -> Ticket:
        """Put a command in without waiting; any thread, a signal handler too."""
        ticket = Ticket(command=command, done=threading.Event())
        self._queue.put(ticket)
        return ticket

    def messages(self, timeout_s: float) -> Iterator[Ticket | MarketEvent]:
        """Take everything that is there, after waiting at most `timeout_s` for the first."""
        try:
            if timeout_s > 0:
                yield self._queue.get(timeout=timeout_s)
            while True:
                yield self._queue.get_nowait()
        except queue.Empty:
            return

    def refuse_all(self) -> None:
        """Answer everybody who still waits: the bot is at its end."""
        tickets = [self.adjusting] if self.adjusting is not None else []
        self.adjusting = None
        tickets += [message for message in self.messages(0.0) if isinstance(message, Ticket)]
        for ticket in tickets:
            ticket.answer(CommandResult(outcome=Outcome.NOT_RUNNING, message="the bot is stopping"))
