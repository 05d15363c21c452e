"""The floor of `daemon_manager start`: the least that forks, starts and waits for health.

    python benchmarks/floor_supervisor.py PORT [PORT ...]

One supervisor per port goes into the background by a double fork, starts a child that answers
/health by the standard library's http.server, and reports over a pipe once it does. The command
returns when all have reported, and prints their PIDs: supervisor, child. No config, no log, no
lock, no registry, no restart limit.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request

CHILD = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"ready": true}')
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def supervise(port: int, report: int) -> None:
    """Start the child, tell when it is healthy, start it again when it ends."""
    while True:
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(port)])
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.005)
        os.write(report, json.dumps([os.getpid(), child.pid]).encode() + b"\n")
        child.wait()


def main() -> None:
    reader, writer = os.pipe()
    for port in map(int, sys.argv[1:]):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                null = os.open("/dev/null", os.O_RDWR)
                for fd in (0, 1, 2):
                    os.dup2(null, fd)
                supervise(port, writer)
            os._exit(0)
        os.wait()
    with os.fdopen(reader) as pipe:
        for _ in sys.argv[1:]:
            print(pipe.readline(), end="")


if __name__ == "__main__":
    main()
