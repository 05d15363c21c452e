"""One channel: apprise, and a message sent through it in a process of its own.

The only place that imports apprise (45 MB). A send runs in a fork: what hangs in it is killed, what
it leaks goes with it, and no channel holds up another.

An answer of 200 is not always a yes: DingTalk (and others of its kind) refuse with 200 and an
`errcode` in the body, for a keyword that is missing or too many messages, and apprise looks at the
status alone (2.3.0). So the answers are looked at here as well.
Source: DingTalk's answers as its users report them: 200 with `{"errcode": 310000, ...}` for a
keyword or a signature that does not match; apprise's plugins/dingtalk.py, 2.3.0.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from typing import Any

from cli.alerting.plan import Outgoing
from cli.alerting.settings import Address, hide
from core.errors import ConfigError
from core.masking import mask_text

SEND_S = 60.0
"""The longest that a send may take: apprise's own time-outs are 4 s a step, 15 s for mail."""

MIN_GAP_S = 1.0
"""Between two messages of one channel; longer where apprise knows the service's limit."""

_INSTALL = "alerts need apprise; install it: pip install 'gridfleet[alerts]'"
_TEXT_LEAST = 120
_TYPES = {"info": "info", "warning": "warning", "critical": "failure"}


class Channel:
    """One address that apprise understands."""

    def __init__(self, address: Address) -> None:
        """Errors: ConfigError without apprise, and for an address that it does not understand."""
        apprise = _apprise()
        self.name = address.name
        self.id = address.id
        hide(address.url)
        self._said = _Said()
        logger = logging.getLogger("apprise")
        logger.propagate = False  # it would print addresses
        logger.handlers = [self._said]
        plugin = apprise.Apprise.instantiate(address.url.reveal(), suppress_exceptions=True)
        if plugin is None:
            why = f": {self._said.last}" if self._said.last else ""
            raise ConfigError(
                f"ALERT_URLS: apprise does not understand the address {address.name}{why}; "
                "see docs/alerts.md"
            )
        self._apprise = apprise.Apprise()
        self._apprise.add(plugin)
        self._format = apprise.NotifyFormat.TEXT
        self.gap_s = max(MIN_GAP_S, float(plugin.request_rate_per_sec))
        self.text_max = max(_TEXT_LEAST, int(plugin.body_maxlen) - int(plugin.title_maxlen or 250))

    def send(self, message: Outgoing) -> dict[str, Any]:
        """Send, in this process, which is a fork: `{"sent": bool, "why": str}`."""
        signal.setitimer(signal.ITIMER_REAL, SEND_S + 5.0)  # should nobody live to kill it
        answers = _watch_answers()
        self._said.last = ""
        logging.getLogger("apprise").handlers = [self._said]
        try:
            sent = bool(
                self._apprise.notify(
                    title=message.title,
                    body=message.body,
                    notify_type=_TYPES[message.level],
                    body_format=self._format,
                )
            )
        except Exception as error:  # a plugin's bug is a failure to send
            return {"sent": False, "why": mask_text(f"{type(error).__name__}: {error}")[:300]}
        refusals = [words for answer in answers if (words := refusal(answer))]
        if refusals:
            return {"sent": False, "why": mask_text(refusals[0])[:300]}
        return {"sent": sent, "why": "" if sent else self._said.last or "not sent"}


def refusal(body: bytes) -> str:
    """Say what an answer of 200 refuses, e.g. `errcode 310000: keywords not in content`."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    code = answer.get("errcode") if isinstance(answer, dict) else None
    if code in (None, 0, "0", ""):
        return ""
    return f"errcode {code}: {str(answer.get('errmsg') or '')[:200]}"


class _Said(logging.Handler):
    """Keeps the last warning of apprise, masked: why something was not sent."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.last = mask_text(" ".join(record.getMessage().split()))[:300]
        except (TypeError, ValueError):
            self.last = "not sent"


def _apprise() -> Any:
    try:
        import apprise
    except ImportError:
        raise ConfigError(_INSTALL) from None
    return apprise


def _watch_answers() -> list[bytes]:
    """Keep the body of each answer that says 200, in this process from now on."""
    requests = sys.modules.get("requests")
    if requests is None:
        return []
    answers: list[bytes] = []
    send = requests.Session.send

    def watched(session: Any, request: Any, **options: Any) -> Any:
        response = send(session, request, **options)
        if response.status_code == 200:
            answers.append(response.content[:65536])
        return response

    requests.Session.send = watched
    return answers
