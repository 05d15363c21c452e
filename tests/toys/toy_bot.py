# ruff: noqa: T201 - a program that prints
"""A small stand-in for a bot: /health, a heartbeat, and every bad manner a child can have.

Run as our bot (`is_bot=True`) or as a foreign `script_path`. Options say how it behaves; everything
else comes from the environment that a supervisor gives. With `--cancel-orders` it is the finish
step: it appends a line to `finishes` in the run directory and exits.
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

BEAT_SIZE = 128


def start_ticks() -> int:
    data = Path("/proc/self/stat").read_bytes()
    return int(data[data.rfind(b")") + 2 :].split()[19])


class Toy:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.run_dir = Path(os.environ["GRID_RUN_DIR"])
        self.instance_id = os.environ["INSTANCE_ID"]
        self.stopping = threading.Event()
        self.exit_code = 0

    def health(self) -> tuple[int, dict[str, object]]:
        """What /health answers; the file `health` in the run directory overrides it."""
        body: dict[str, object] = {
            "status": "ok",
            "live": True,
            "ready": True,
            "instance_id": self.instance_id,
            "pid": os.getpid(),
        }
        override = self.run_dir / "health"
        if override.exists():
            status, changes = json.loads(override.read_text())
            return status, {**body, **changes}
        return 200, body

    def serve(self) -> None:
        toy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                while (toy.run_dir / "silent").exists():
                    time.sleep(0.02)
                status, body = toy.health()
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                return

        try:
            server = http.server.ThreadingHTTPServer(
                (os.environ["WEB_HOST"], int(os.environ["WEB_PORT"])), Handler
            )
        except OSError:
            print("port is taken", file=sys.stderr, flush=True)
            sys.exit(6)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def beat(self) -> None:
        fd = os.open(self.run_dir / "heartbeat", os.O_WRONLY | os.O_CREAT, 0o600)
        start, loops = start_ticks(), 0
        while not self.stopping.is_set():
            loops += 1
            if not (self.run_dir / "hang").exists():
                record = {
                    "v": 1,
                    "pid": os.getpid(),
                    "start": start,
                    "mono": time.monotonic(),
                    "loops": loops,
                    "ready": True,
                }
                line = json.dumps(record).ljust(BEAT_SIZE - 1) + "\n"
                os.pwrite(fd, line.encode(), 0)
            self.stopping.wait(0.05)
        os.close(fd)

    def wait_for_term(self) -> None:
        """Sleep until TERM; blocked and waited for, so that none can slip in before the sleep."""
        if self.options.ignore_term or not self.options.bot:
            while True:
                signal.pause()
        signal.sigwait({signal.SIGTERM})
        note = self.run_dir / "stop.json"
        stop = json.loads(note.read_text()) if note.exists() else {}
        kept = stop.get("keep_orders") is True
        self.say(f"TERM {json.dumps(stop, sort_keys=True)}")
        exit_note = {
            "v": 1,
            "pid": os.getpid(),
            "start": start_ticks(),
            "code": 0,
            "cause": "stop",
            "orders_left": 3 if kept else 0,
        }
        (self.run_dir / "exit.json").write_text(json.dumps(exit_note))
        os._exit(0)

    def say(self, words: str) -> None:
        with (self.run_dir / "said").open("a") as file:
            file.write(words + "\n")
        print(words, flush=True)

    def chatter(self) -> None:
        """Write numbered lines, each whole by one write, and note how far it came."""
        number = 0
        while not self.stopping.wait(self.options.chatter):
            number += 1
            os.write(1, f"line {os.getpid()} {number} {'.' * 40} end\n".encode())

    def misbehave(self) -> None:
        """Take memory or processor time, itself or by a child of its own."""
        o = self.options
        code = f"import time\nheld = bytearray(b'x' * ({o.leak or 0} << 20))\n"
        code += "while True:\n    pass\n" if o.spin else "time.sleep(600)\n"
        if o.by_grandchild:
            subprocess.Popen([sys.executable, "-c", code])
        else:
            threading.Thread(target=exec, args=(code, {}), daemon=True).start()

    def grab(self) -> None:
        """Take memory as fast as it comes, until there is none; what ends it is not caught."""
        held = []
        while True:
            held.append(b"x" * (8 << 20))

    def run(self) -> int:
        o = self.options
        count_file = self.run_dir / "starts"
        with count_file.open("a") as file:
            file.write(f"{os.getpid()}\n")
        starts = len(count_file.read_text().splitlines())
        self.say(f"start {starts}")
        print("toy stderr line", file=sys.stderr, flush=True)
        if o.ignore_term:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        elif o.bot:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        if o.grandchild:
            code = (
                "import signal, time\n"
                "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
                "import os, pathlib\n"
                f"pathlib.Path({str(self.run_dir / 'grandchild')!r}).write_text(str(os.getpid()))\n"
                "time.sleep(600)"
            )
            keep = (int(os.environ["GRID_BOT_LOCK_FD"]),)
            subprocess.Popen(
                [sys.executable, "-c", code], pass_fds=keep, start_new_session=o.own_session
            )
            while not (self.run_dir / "grandchild").exists():
                time.sleep(0.01)
        if o.exit_code is not None and (o.times is None or starts <= o.times):
            time.sleep(o.exit_after)
            print(f"toy ends with {o.exit_code}", file=sys.stderr, flush=True)
            return o.exit_code
        if o.never_ready:
            self.wait_for_term()
            return 0
        if not o.no_web:
            self.serve()
        if o.bot:
            threading.Thread(target=self.beat, daemon=True).start()
        if o.chatter is not None:
            threading.Thread(target=self.chatter, daemon=True).start()
        if (o.leak or o.spin) and not (o.once and starts > 1):
            self.misbehave()
        if o.grab and not (o.once and starts > 1):
            self.grab()
        self.wait_for_term()
        return 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bot", action="store_true", help="beat, and leave an exit note on TERM")
    parser.add_argument("--exit-code", type=int)
    parser.add_argument("--exit-after", type=float, default=0.0)
    parser.add_argument("--times", type=int, help="end so only the first N starts")
    parser.add_argument("--no-web", action="store_true")
    parser.add_argument("--ignore-term", action="store_true")
    parser.add_argument("--never-ready", action="store_true")
    parser.add_argument("--grandchild", action="store_true")
    parser.add_argument("--own-session", action="store_true")
    parser.add_argument("--leak", type=int, metavar="MB", help="hold that much, once it is ready")
    parser.add_argument("--spin", action="store_true", help="a loop without an end beside it")
    parser.add_argument("--grab", action="store_true", help="take all memory, once it is ready")
    parser.add_argument(
        "--by-grandchild", action="store_true", help="--leak and --spin: not itself"
    )
    parser.add_argument(
        "--once", action="store_true", help="--leak, --spin, --grab: the first start only"
    )
    parser.add_argument(
        "--chatter", type=float, metavar="S", help="a numbered line every S seconds"
    )
    parser.add_argument("--finish-code", type=int, default=0)
    parser.add_argument("--finish-hangs", action="store_true")
    parser.add_argument("--cancel-orders", action="store_true")
    options = parser.parse_args()
    if options.cancel_orders:
        with (Path(os.environ["GRID_RUN_DIR"]) / "finishes").open("a") as file:
            file.write(f"{os.getpid()}\n")
        if options.finish_hangs:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)
        return int(options.finish_code)
    return Toy(options).run()


if __name__ == "__main__":
    sys.exit(main())
