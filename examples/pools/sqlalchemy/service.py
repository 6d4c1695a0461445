"""A service whose SQLAlchemy pool lives through every rotation of its login.

The agent keeps a file of the format "json" up to date, and each new connection logs in by what it says at that moment.

    CREDENTIAL_FILE=/run/secrets/orders/db.json python3 service.py
    curl -X POST 'http://127.0.0.1:8080/orders?ms=50'
"""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import Engine, create_engine, event, text

CREDENTIAL_FILE = os.environ.get("CREDENTIAL_FILE", "/run/secrets/orders/db.json")
LISTEN = os.environ.get("LISTEN", "127.0.0.1:8080")
POOL_SIZE = int(os.environ.get("POOL_SIZE", "16"))
MAX_LIFETIME = float(os.environ.get("MAX_LIFETIME", "120"))


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    engine = make_engine()
    with engine.connect():
        pass  # a service that cannot log in should not start
    host, port = LISTEN.rsplit(":", 1)
    with Server((host, int(port)), Handler) as server:
        server.engine = engine
        print(f"listening on {host}:{server.server_port}", flush=True)
        server.serve_forever()


def make_engine() -> Engine:
    engine = create_engine(
        "postgresql+psycopg://",  # where to and as whom is said at each connect, below
        pool_size=POOL_SIZE,
        max_overflow=0,
        # The age is looked at when a connection is handed out, and only then. That is enough: one that lay idle for longer,
        # even past the end of its login, is replaced before anybody gets it.
        pool_recycle=MAX_LIFETIME,
        # pool_pre_ping stays off. A session whose login was dropped still answers SELECT 1, so a ping would not find it, and
        # a session can end right after its ping. Only age keeps operations away from old logins.
    )

    @event.listens_for(engine, "do_connect")
    def log_in_by_the_present_credential(dialect, record, cargs, cparams):
        # One reading for everything: user name and password are always of the same generation.
        with open(CREDENTIAL_FILE, encoding="utf-8") as file:
            cargs[:] = [json.load(file)["url"]]

    return engine


def insert_order(engine: Engine, ms: int) -> None:
    half = {"seconds": ms / 2000}
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_sleep(:seconds)"), half)
        connection.execute(text("INSERT INTO orders (note) VALUES (:note)"), {"note": "from SQLAlchemy"})
        connection.execute(text("SELECT pg_sleep(:seconds)"), half)


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    engine: Engine


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together: apart, the body would wait for the client's delayed acknowledgement

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        ms = parse_qs(url.query).get("ms", ["0"])[0]
        if url.path != "/orders":
            return self.answer(404, "only POST /orders?ms=N")
        if not (ms.isascii() and ms.isdigit() and int(ms) <= 10_000):
            return self.answer(400, "ms must be 0 to 10000")
        try:
            insert_order(self.server.engine, int(ms))
        except Exception as error:
            print(f"order failed: {error}", file=sys.stderr)
            return self.answer(500, str(error))
        self.answer(200, "ok")

    def answer(self, status: int, body: str) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))  # else it would be taken for the next request
        payload = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_) -> None:
        pass  # not a line for each request


if __name__ == "__main__":
    main()
