"""A service that takes payments from callers who show a token for them, verified by PyJWT.

    ISSUER=https://leasehold.example.org AUDIENCE=https://payments.example.org \
    TLS_CERT=payments.pem TLS_KEY=payments-key.pem TLS_CA=bundle.pem python3 payments.py

ISSUER_CA names a file where the issuer's certificate is of no authority that this machine knows.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import signal
import ssl
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt

LISTEN = os.environ.get("LISTEN", "127.0.0.1:8443")
# How far clocks may be apart, in seconds.
LEEWAY = 10


class Refused(Exception):
    def __init__(self, status: int, error: str, why: str) -> None:
        super().__init__(why)
        self.status, self.error = status, error


class Verifier:
    """Verifies the tokens of one issuer for one audience. One for the whole process: it keeps the issuer's keys."""

    def __init__(self, issuer: str, audience: str, tls: ssl.SSLContext) -> None:
        with urllib.request.urlopen(f"{issuer}/.well-known/openid-configuration", context=tls, timeout=5) as answer:
            discovery = json.load(answer)
        if discovery["issuer"] != issuer:
            raise ValueError(f"{issuer} says that it is {discovery['issuer']}")
        self.issuer, self.audience = issuer, audience
        # Read again every 5 minutes, and once for a key name that is not known, but not twice in 30 s.
        self.keys = jwt.PyJWKClient(discovery["jwks_uri"], ssl_context=tls, timeout=5)

    def verify(self, token: str, certificate: bytes | None, scope: str, **claims: str) -> dict:
        """What a good token says. `certificate` is the one that the caller has shown in TLS, in DER."""
        try:
            # Whatever else the issuer signs is no access token.
            if jwt.get_unverified_header(token).get("typ") != "at+jwt":
                raise jwt.InvalidTokenError("it is no access token (typ)")
            said = jwt.decode(
                token,
                self.keys.get_signing_key_from_jwt(token),  # which has its algorithm with it
                algorithms=["ES256", "EdDSA", "RS256"],
                issuer=self.issuer,
                audience=self.audience,
                leeway=LEEWAY,
                # strict_aud: one text, not a list that has ours in it too.
                options={"require": ["iss", "aud", "exp", "sub"], "strict_aud": True},
            )
        except jwt.PyJWKClientConnectionError as error:
            raise Refused(503, "temporarily_unavailable", "the issuer's keys are not at hand") from error
        except jwt.PyJWTError as error:
            raise Refused(401, "invalid_token", str(error)) from error
        bound_to = (said.get("cnf") or {}).get("x5t#S256")
        if not isinstance(bound_to, str):
            raise Refused(401, "invalid_token", "it is bound to no certificate")
        if not certificate or not hmac.compare_digest(bound_to.encode(), thumbprint(certificate)):
            raise Refused(401, "invalid_token", "it is bound to another certificate")
        if scope not in said.get("scope", "").split(" "):
            raise Refused(403, "insufficient_scope", f"the scope {scope} is missing")
        for name, wanted in claims.items():
            if said.get(name) != wanted:
                raise Refused(403, "insufficient_scope", f"{name} is another")
        return said


def thumbprint(certificate: bytes) -> bytes:
    """RFC 8705 section 3.1."""
    return base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).rstrip(b"=")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds, for the handshake too

    def do_POST(self) -> None:
        path = re.fullmatch(r"/tenants/([0-9]{1,9})/payments", self.path)
        if not path:
            return self.answer(404, "only POST /tenants/N/payments")
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer":
            return self.answer(401, "no token", "Bearer")
        try:
            certificate = self.connection.getpeercert(binary_form=True)
            said = self.server.verifier.verify(token, certificate, "payments:write", tenant=path[1])
        except Refused as no:
            why = re.sub(r'[^ -~]|["\\]', "'", str(no))
            return self.answer(no.status, why, f'Bearer error="{no.error}", error_description="{why}"')
        self.answer(200, f"{said['sub']} pays for tenant {said['tenant']}")

    def answer(self, status: int, body: str, challenge: str | None = None) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))  # else it would be taken for the next request
        payload = body.encode()
        self.send_response(status)
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_) -> None:
        pass  # not a line for each request


class Server(ThreadingHTTPServer):
    verifier: Verifier


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    trusted = ssl.create_default_context(cafile=os.environ.get("ISSUER_CA"))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=os.environ["TLS_CA"])
    tls.load_cert_chain(os.environ["TLS_CERT"], os.environ["TLS_KEY"])
    tls.verify_mode = ssl.CERT_REQUIRED  # callers show their SVIDs: tokens are bound to them
    host, port = LISTEN.rsplit(":", 1)
    with Server((host, int(port)), Handler) as server:
        server.verifier = Verifier(os.environ["ISSUER"], os.environ["AUDIENCE"], trusted)
        # The handshake is for the connection's own thread: here it would keep all others waiting.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        print(f"listening on {host}:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
