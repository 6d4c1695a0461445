"""A service whose psycopg pool lives through every rotation of its login, without a line of code for it.

The agent keeps a libpq service file (format "pgservice") up to date. libpq reads it at each new connection.

    PGSERVICEFILE=/run/secrets/orders/pg_service.conf python3 service.py
    curl -X POST 'http://127.0.0.1:8080/orders?ms=50'
"""

import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from psycopg_pool import ConnectionPool

LISTEN = os.environ.get("LISTEN", "127.0.0.1:8080")
POOL_SIZE = int(os.environ.get("POOL_SIZE", "16"))
MAX_LIFETIME = float(os.environ.get("MAX_LIFETIME", "120"))


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    pool = ConnectionPool(
        "service=orders",
        min_size=POOL_SIZE,
        max_size=POOL_SIZE,
        # The rest of MAX_LIFETIME is for those that lie idle, see below.
        max_lifetime=MAX_LIFETIME * 0.8,
        # No `check`. A session whose login was dropped still answers a query without a table, so a check would not find it,
        # and a session can end right after its check. Only age keeps operations away from old logins.
        open=False,
    )
    pool.open(wait=True)  # a service that cannot log in should not start
    threading.Thread(target=replace_idle, args=(pool,), daemon=True).start()
    host, port = LISTEN.rsplit(":", 1)
    with pool, Server((host, int(port)), Handler) as server:
        server.pool = pool
        print(f"listening on {host}:{server.server_port}", flush=True)
        server.serve_forever()


def replace_idle(pool: ConnectionPool) -> None:
    """Lets no connection grow old by lying idle.

    The pool looks at the age of a connection when it comes back, but not when it is handed out: without this, one that
    nobody needed for an hour would be handed out once more. `check()` replaces those that are too old.
    """
    while True:
        time.sleep(MAX_LIFETIME * 0.2)
        pool.check()


def insert_order(pool: ConnectionPool, ms: int) -> None:
    with pool.connection() as connection:  # commits at its end
        connection.execute("SELECT pg_sleep(%s)", [ms / 2000])
        connection.execute("INSERT INTO orders (note) VALUES (%s)", ["from psycopg"])
        connection.execute("SELECT pg_sleep(%s)", [ms / 2000])


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    pool: ConnectionPool


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
            insert_order(self.server.pool, int(ms))
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
