"""Who is started before whom: the order that `daemon_config.start_after` asks for.

Pure: names in, names out. A graph is a mapping from each instance of one start to those that it
names; what they name besides is no part of the start, and nobody waits for it.

An instance is startable once each one that it names has been decided: it is ready, or it failed.
A failure holds nobody back: one bot's crash touches no other (S14, S26).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

Graph = Mapping[str, Collection[str]]


class StartCycle(ValueError):
    """Instances that wait for each other; `names` in the order in which they do, each once."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        super().__init__(" after ".join((*names, names[0])))

    def seen_from(self, name: str) -> str:
        """Spell the circle beginning with one of its own, e.g. `a after b after a`."""
        place = self.names.index(name)
        return str(StartCycle(self.names[place:] + self.names[:place]))


def waves(after: Graph) -> list[list[str]]:
    """Sort a start into waves: each instance in the first one after all that it names.

    Shape: each name once; within a wave in the mapping's order. Errors: StartCycle.
    """
    left = {name: _within(after, name) for name in after}
    found: list[list[str]] = []
    while left:
        wave = [name for name, named in left.items() if not any(one in left for one in named)]
        if not wave:
            raise StartCycle(_cycle(left))
        found.append(wave)
        for name in wave:
            del left[name]
    return found


def startable(after: Graph, started: Collection[str], decided: Collection[str]) -> list[str]:
    """List who is not started yet and waits for nobody any more, in the mapping's order."""
    return [
        name
        for name in after
        if name not in started and all(one in decided for one in _within(after, name))
    ]


def without_cycles(after: Graph) -> tuple[dict[str, tuple[str, ...]], list[StartCycle]]:
    """Let those in a circle wait for nobody, and tell of each circle."""
    graph = {name: tuple(named) for name, named in after.items()}
    cycles: list[StartCycle] = []
    while True:
        try:
            waves(graph)
        except StartCycle as cycle:
            cycles.append(cycle)
            graph |= dict.fromkeys(cycle.names, ())
        else:
            return graph, cycles


def unknown(after: Graph, known: Collection[str]) -> list[tuple[str, str]]:
    """List who names whom that is not known, in the mapping's order."""
    return [(name, one) for name, named in after.items() for one in named if one not in known]


def _within(after: Graph, name: str) -> list[str]:
    return [one for one in after[name] if one in after]


def _cycle(left: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Find one circle where everybody waits for somebody: follow the first, until one repeats."""
    path = [next(iter(left))]
    while True:
        following = next(one for one in left[path[-1]] if one in left)
        if following in path:
            return tuple(path[path.index(following) :])
        path.append(following)
