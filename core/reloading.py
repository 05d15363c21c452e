"""A changed config file, from the change to its effect, inside the supervisor's loop.

What lives here: the debounce, the check in a short-lived process, the request that moves the grid
(also in one), and what is told of them. What follows from a change is `core.reload_plan`'s.

Rules it keeps:
- an editor that replaces, truncates or writes in two steps causes one reload: it begins when the
  file has been left alone for `QUIET_S`, and only when its content is not the accepted one;
- an invalid file changes nothing, and the record says so (`config_fault`) until it is mended;
- the loop never waits: both pieces of work are processes whose pipes are in the selector.
Standard library only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from core.chores import Chores
from core.config_watch import ConfigWatch
from core.errors import ConfigError, GridfleetError
from core.log_files import JsonLineLog
from core.loop import READ, Loop
from core.paths import read_limited
from core.reload_plan import Kind, ReloadPlan, plan_reload
from core.spec import ChildSpec

QUIET_S = 2.0
_AGAIN_S = 0.2
_ADJUST_TIMEOUT_S = 40.0  # the page answers within 10 s, with 202 when the exchange takes longer
_MAX_CONFIG = 1 << 20


Validator = Callable[[str, Path, str], ChildSpec]
"""`(config path, root, instance id) -> spec`; raises ConfigError; see `core.launch`."""


class Host(Protocol):
    """What a reload needs of its supervisor."""

    spec: ChildSpec
    root: Path

    @property
    def is_page_up(self) -> bool:
        """Whether the bot runs and may be asked over its page."""
        ...

    def next_spec(self) -> ChildSpec:
        """What the next child will run: a spec that waits, else the present one."""
        ...

    def accept_live(self, spec: ChildSpec) -> None:
        """Take the spec at once; the child runs on. Errors: GridfleetError, OSError."""
        ...

    def restart_with(self, spec: ChildSpec) -> None:
        """Replace the child, if one should be up, by one of this spec."""
        ...

    def tell_reload(self, fault: str | None, result: dict[str, Any]) -> None:
        """Note the fault in the record (None: there is none) and tell who watches."""
        ...


class Reloader:
    """Follows one instance's config file."""

    def __init__(
        self,
        host: Host,
        loop: Loop,
        chores: Chores,
        log: JsonLineLog,
        validate: Validator,
    ) -> None:
        self._host = host
        self._loop = loop
        self._chores = chores
        self._log = log
        self._validate = validate
        self._watch: ConfigWatch | None = None
        self._due: float | None = None
        self._busy = False  # a check or an adjust is under way
        self._refused: str | None = None  # the text that was found invalid: not checked again
        self._again: ChildSpec | None = None  # came while the grid was being moved

    def open(self) -> None:
        """Begin to watch the file."""
        self._watch = ConfigWatch(Path(self._host.spec.config_path))
        if self._watch.fd is not None:
            self._loop.register(self._watch.fd, READ, self._on_event)

    def close(self) -> None:
        if self._watch is not None:
            if self._watch.fd is not None:
                self._loop.unregister(self._watch.fd)
            self._watch.close()
            self._watch = None

    # Seeing ---------------------------------------------------------------------------------------

    def next_due(self) -> float | None:
        """When `on_timer` has something to do."""
        return self._due

    def on_timer(self, now: float) -> None:
        """Look at the file if it has been left alone for long enough."""
        if self._watch is not None and self._watch.has_changed():
            self._due = now + QUIET_S
        if self._due is None or now < self._due:
            return
        if self._busy:
            self._due = now + _AGAIN_S
            return
        self._due = None
        if (text := self._changed_text()) is not None:
            self._log.event("config_changed", path=self._host.spec.config_path)
            self._check(text)

    def reload_now(self) -> None:
        """Read the file again because somebody asked."""
        if not self._busy:
            self._refused = None
            self._check(self._text() or "")
        else:
            self._due = time.monotonic() + _AGAIN_S

    def _on_event(self, _: int) -> None:
        if self._watch is not None and self._watch.take_events():
            self._watch.has_changed()
            self._due = time.monotonic() + QUIET_S

    def _text(self) -> str | None:
        try:
            raw = read_limited(Path(self._host.spec.config_path), _MAX_CONFIG)
            return raw.decode("utf-8-sig")
        except (OSError, ValueError):
            return None

    def _changed_text(self) -> str | None:
        """Give the file's content if it has to be looked into; "" for a file that is gone."""
        text = self._text()
        if text is not None and text == self._host.next_spec().config_text:
            if self._refused is not None:  # it was put back as it had been
                self._refused = None
                self._done(None, ReloadPlan(kind=Kind.NONE))
            return None
        return None if (text or "") == self._refused else text or ""

    # Checking -------------------------------------------------------------------------------------

    def _check(self, text: str) -> None:
        spec, validate, root = self._host.spec, self._validate, self._host.root

        def work() -> dict[str, Any]:
            try:
                return {"spec": validate(spec.config_path, root, spec.instance_id).to_json()}
            except (ConfigError, GridfleetError, OSError) as error:
                return {"fault": str(error)}

        def done(answer: dict[str, Any]) -> None:
            if "spec" in answer:
                self._refused = None
                self.apply(ChildSpec.from_json(answer["spec"]))
                return
            self._refused = text
            fault = str(answer.get("fault") or answer.get("error") or "the check did not answer")
            self._log.event("reload_refused", "error", error=fault)
            self._host.tell_reload(fault, {"ok": False, "action": None, "error": fault})

        self._begin(work, done, "the config check")

    def apply(self, spec: ChildSpec) -> ReloadPlan:
        """Carry out what follows from this spec, as mildly as it can be."""
        if self._busy:
            self._again = spec
            return ReloadPlan(kind=Kind.NONE)
        plan = plan_reload(self._host.next_spec(), spec)
        self._log.event("reload_planned", action=plan.kind.value, changed=list(plan.changed))
        match plan.kind:
            case Kind.NONE | Kind.LIVE:
                self._take(spec, plan)
            case Kind.ADJUST if self._host.is_page_up:
                self._adjust(spec, plan)
            case _:
                self._host.restart_with(spec)
                self._done(None, plan)
        return plan

    def _take(self, spec: ChildSpec, plan: ReloadPlan) -> None:
        try:
            self._host.accept_live(spec)
        except (GridfleetError, OSError) as error:
            self._log.event("spec_refused", "error", error=str(error))
            self._done(str(error), plan)
        else:
            self._done(None, plan)

    def _adjust(self, spec: ChildSpec, plan: ReloadPlan) -> None:
        root, instance_id = self._host.root, spec.instance_id

        def work() -> dict[str, Any]:
            from core.page_commands import PageError, post
            from core.targets import resolve_targets

            target = resolve_targets(root, [instance_id])[0]
            try:
                status, answer = post(target, root, "/api/grid/adjust", dict(plan.adjust))
            except PageError as error:
                return {"status": 0, "message": str(error)}
            return {"status": status, "message": str(answer.get("message") or f"HTTP {status}")}

        def done(answer: dict[str, Any]) -> None:
            status = int(answer.get("status") or 0)
            message = str(answer.get("message") or answer.get("error") or "no answer")
            if status in (200, 202):
                self._log.event("grid_adjusted", message=message)
                self._take(spec, plan)
            elif status in (0, 404, 409):
                # No page to ask, or it isn't trading yet: a new bot reads the new range itself.
                self._log.event("adjust_not_possible", "warning", message=message)
                self._host.restart_with(spec)
                self._done(None, ReloadPlan(kind=Kind.RESTART, changed=plan.changed))
            else:
                fault = f"the grid was not moved, the old one stands: {message}"
                self._refused = spec.config_text
                self._log.event("adjust_refused", "error", error=fault)
                self._done(fault, plan)

        self._begin(work, done, "the adjust", _ADJUST_TIMEOUT_S)

    def _done(self, fault: str | None, plan: ReloadPlan) -> None:
        result = {"action": plan.kind.value, "changed": list(plan.changed), "error": fault}
        self._host.tell_reload(fault, {"ok": fault is None, **result})

    def _begin(
        self,
        work: Callable[[], dict[str, Any]],
        done: Callable[[dict[str, Any]], None],
        what: str,
        timeout_s: float | None = None,
    ) -> None:
        def finished(answer: dict[str, Any]) -> None:
            self._busy = False
            done(answer)
            if not self._busy and self._again is not None:
                spec, self._again = self._again, None
                self.apply(spec)

        self._busy = True
        self._chores.start(what, work, finished, timeout_s)
