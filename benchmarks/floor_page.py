"""The floor of a bot with a page: Flask-SocketIO on cheroot, answering /health, nothing else.

python benchmarks/floor_page.py PORT
"""

import os
import sys

from cheroot.wsgi import Server
from flask import Flask
from flask_socketio import SocketIO

app = Flask(__name__)
SocketIO(app, async_mode="threading")


@app.get("/health")
def health() -> dict[str, object]:
    return {"ready": True, "pid": os.getpid()}


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), app).start()
