"""Moto's own server, on a free port of loopback, with a record of what it was asked, and a customer of AWS beside it.

The first argument is where to write the port, in one step, once it listens; the second is the record: one JSON object a line, for
each call that has its parameters in a form, as those of IAM and STS have. It is written before moto looks at the call.

What is posted to /kit/call, in JSON, the customer asks by boto3, over the network as any other: so that the kit starts no Python for
each of its questions.
"""

import io
import json
import os
import re
import sys
import threading
from urllib.parse import parse_qsl
from xml.etree import ElementTree

import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

FORM = "application/x-www-form-urlencoded"


class Customer:
    def __init__(self):
        self.session, self.lock, self.clients = boto3.Session(), threading.Lock(), {}

    def client(self, service, region, endpoint, key):
        # The first answer is the one that is wanted.
        config = Config(retries={"total_max_attempts": 1})
        names = dict(zip(("aws_access_key_id", "aws_secret_access_key", "aws_session_token"), key))
        name = (service, region, *key)
        # A session makes one client at a time; clients are for all threads.
        with self.lock:
            if name not in self.clients:
                self.clients[name] = self.session.client(
                    service, region_name=region, endpoint_url=endpoint, config=config, **names
                )
            return self.clients[name]

    def call(self, endpoint, service, region, operation, params, key):
        try:
            answer = getattr(self.client(service, region, endpoint, key), xform_name(operation))(**params)
        except ClientError as error:
            told = error.response["Error"]
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            return {"code": told["Code"], "status": status, "message": told["Message"]}
        except Exception as error:
            return {"failed": repr(error)}
        answer.pop("ResponseMetadata", None)
        return {"answer": answer}


class Kit:
    def __init__(self, app, path):
        self.app, self.lock, self.customer, self.endpoint = app, threading.Lock(), Customer(), None
        self.record = open(path, "a", encoding="utf-8")

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == "/kit/call":
            said = self.customer.call(self.endpoint, **json.loads(body(environ)))
            said = json.dumps(said, default=lambda value: value.isoformat()).encode()
            start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(said)))])
            return [said]
        if environ.get("CONTENT_TYPE", "").startswith(FORM):
            form = body(environ)
            environ["wsgi.input"] = io.BytesIO(form)
            params = dict(parse_qsl(form.decode(), keep_blank_values=True))
            self.write(dict(params), environ)
            if params.get("Action") == "ListUsers" and "MaxItems" in params:
                return self.page(params, environ, start_response)
        return self.app(environ, start_response)

    def page(self, params, environ, start_response):
        said = []
        answer = b"".join(self.app(environ, lambda *line: said.append(line)))
        if said[0][0].startswith("200"):
            answer = page(answer, params.get("Marker", ""), int(params["MaxItems"]))
        headers = [header for header in said[0][1] if header[0].lower() != "content-length"]
        start_response(said[0][0], headers + [("Content-Length", str(len(answer)))])
        return [answer]

    def write(self, params, environ):
        signed = re.search(r"Credential=([^/]+)/[^/]+/([^/]+)/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
        key, region, service = signed.groups() if signed else ("", "", "")
        call = {"service": service, "region": region, "key": key, "action": params.pop("Action", "")}
        call |= {"with_token": "HTTP_X_AMZ_SECURITY_TOKEN" in environ, "params": params}
        with self.lock:
            self.record.write(json.dumps(call) + "\n")
            self.record.flush()


def body(environ):
    return environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))


def page(answer, marker, most):
    """Moto lists all users at once; AWS those after the marker, as many as are asked for."""
    document = ElementTree.fromstring(answer)
    space = document.tag.partition("}")[0] + "}" if document.tag.startswith("{") else ""
    result = document.find(f"{space}ListUsersResult")
    users = result.find(f"{space}Users")
    name = lambda user: user.findtext(f"{space}UserName")
    left = sorted((user for user in users if name(user) > marker), key=name)
    users[:] = left[:most]
    if len(left) > most:
        result.find(f"{space}IsTruncated").text = "true"
        ElementTree.SubElement(result, f"{space}Marker").text = name(left[most - 1])
    return ElementTree.tostring(document)


def main(port_file, record):
    kit = Kit(DomainDispatcherApplication(create_backend_app), record)
    server = make_server("127.0.0.1", 0, kit, threaded=True, request_handler=MotoRequestHandler)
    kit.endpoint = f"http://127.0.0.1:{server.server_port}"
    # As moto's own start does: some answers hold its address.
    os.environ["MOTO_PORT"] = str(server.server_port)
    with open(port_file + ".new", "w", encoding="utf-8") as file:
        file.write(str(server.server_port))
    os.rename(port_file + ".new", port_file)
    server.serve_forever()


main(*sys.argv[1:])
