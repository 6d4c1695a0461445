"""Moto's own server, on a free port of loopback, with a record of what it was asked.

The first argument is where to write the port, in one step, once it listens; the second is the record: one JSON object a line, for
each call that has its parameters in a form, as those of IAM and STS have. It is written before moto looks at the call.
"""

import io
import json
import os
import re
import sys
import threading
from urllib.parse import parse_qsl

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

FORM = "application/x-www-form-urlencoded"


class Recorded:
    def __init__(self, app, path):
        self.app, self.lock = app, threading.Lock()
        self.record = open(path, "a", encoding="utf-8")

    def __call__(self, environ, start_response):
        if environ.get("CONTENT_TYPE", "").startswith(FORM):
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = io.BytesIO(body)
            self.write(dict(parse_qsl(body.decode(), keep_blank_values=True)), environ)
        return self.app(environ, start_response)

    def write(self, params, environ):
        signed = re.search(r"Credential=([^/]+)/[^/]+/([^/]+)/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
        key, region, service = signed.groups() if signed else ("", "", "")
        call = {"service": service, "region": region, "key": key, "action": params.pop("Action", "")}
        call |= {"with_token": "HTTP_X_AMZ_SECURITY_TOKEN" in environ, "params": params}
        with self.lock:
            self.record.write(json.dumps(call) + "\n")
            self.record.flush()


def main(port_file, record):
    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, Recorded(app, record), threaded=True, request_handler=MotoRequestHandler)
    # As moto's own start does: some answers hold its address.
    os.environ["MOTO_PORT"] = str(server.server_port)
    with open(port_file + ".new", "w", encoding="utf-8") as file:
        file.write(str(server.server_port))
    os.rename(port_file + ".new", port_file)
    server.serve_forever()


main(*sys.argv[1:])
