"""A stand-in for IAM Roles Anywhere: it takes what AWS's user guide describes ("signing process", "CreateSession API", "trust model"),
and nothing else.

The arguments are where to write the port once it listens, and a JSON object: `ca` (the trust anchor's certificate in PEM), `region`,
`trustAnchorArn`, `profileArn`, `roleArn`, `acceptRoleSessionName`. Nothing here was made from what it judges. It knows no revocation
and no policies, and what its errors say beside their names is not AWS's.
"""

import base64
import hashlib
import json
import os
import re
import secrets
import sys
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

REQUIRED = {"content-type", "host", "x-amz-date", "x-amz-x509"}
AUTHORIZATION = re.compile(
    r"(AWS4-X509-(?:RSA|ECDSA)-SHA256) Credential=([0-9]+)/([0-9]{8})/([a-z0-9-]+)/([a-z]+)/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=((?:[0-9a-f]{2})+)"
)
STATUS = {"AccessDeniedException": 403, "ValidationException": 400, "ResourceNotFoundException": 404}
FIELDS = {"durationSeconds", "profileArn", "roleArn", "trustAnchorArn", "roleSessionName"}
SKEW = timedelta(minutes=5)


class Refused(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code, self.message = code, message


def denied(message):
    return Refused("AccessDeniedException", message)


def certificate(text):
    try:
        return x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
    except ValueError as error:
        raise Refused("ValidationException", "this is no certificate in DER and Base64") from error


def check_signature(method, path, headers, body, region, now):
    """Task 1 to 3 of the signing process, from the end: the certificate by whose key this request was signed."""
    found = AUTHORIZATION.fullmatch(headers.get("authorization", ""))
    if not found:
        raise denied("the Authorization header is missing or malformed")
    algorithm, serial, day, of_region, service, signed, signature = found.groups()
    names = signed.split(";")
    must = REQUIRED | ({"x-amz-x509-chain"} & headers.keys())
    if names != sorted(set(names)) or not must <= set(names) or not set(names) <= headers.keys():
        raise denied("SignedHeaders are not those that must be signed, in their order")
    try:
        date = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError as error:
        raise denied("X-Amz-Date is no date") from error
    if abs(now - date) > SKEW or day != headers["x-amz-date"][:8]:
        raise denied("Signature expired or not of this day")
    if (of_region, service) != (region, "rolesanywhere"):
        raise denied("Credential is scoped to another region or service")
    leaf = certificate(headers["x-amz-x509"])
    if str(leaf.serial_number) != serial:
        raise denied("Credential names another certificate")

    lines = [f"{name}:{' '.join(headers[name].split())}" for name in names]
    canonical = "\n".join([method, path, "", *lines, "", signed, hashlib.sha256(body).hexdigest()])
    scope = f"{day}/{of_region}/{service}/aws4_request"
    text = "\n".join([algorithm, headers["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key, signature = leaf.public_key(), bytes.fromhex(signature)
    try:
        if isinstance(key, rsa.RSAPublicKey) and algorithm == "AWS4-X509-RSA-SHA256":
            key.verify(signature, text.encode(), padding.PKCS1v15(), SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm == "AWS4-X509-ECDSA-SHA256":
            key.verify(signature, text.encode(), ec.ECDSA(SHA256()))
        else:
            raise denied("the algorithm is not of this key")
    except InvalidSignature as error:
        raise denied("The request signature we calculated does not match the signature you provided") from error
    return leaf


def extension(cert, kind):
    try:
        return cert.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def check_trust(leaf, shown, anchor, now):
    """From the certificate over those that are shown with it to the trust anchor."""
    basic, usage = extension(leaf, x509.BasicConstraints), extension(leaf, x509.KeyUsage)
    if leaf.version != x509.Version.v3 or basic is None or basic.ca:
        raise denied("Untrusted certificate. It must be of version 3 and no authority")
    if usage is None or not usage.digital_signature:
        raise denied("Untrusted certificate. It must be for digital signatures")
    if any(cert.subject == cert.issuer for cert in shown):
        raise Refused("ValidationException", "the chain has a root in it")
    path, below = [leaf], leaf
    while below.issuer != anchor.subject or not issued(below, anchor):
        above = next((cert for cert in shown if cert not in path and cert.subject == below.issuer and issued(below, cert)), None)
        if above is None:
            raise denied("Untrusted signing certificate")
        path.append(above)
        below = above
    for depth, cert in enumerate([*path[1:], anchor]):
        basic, usage = extension(cert, x509.BasicConstraints), extension(cert, x509.KeyUsage)
        if basic is None or not basic.ca or (usage is not None and not usage.key_cert_sign):
            raise denied("Untrusted certificate. Its issuer is no authority")
        if basic.path_length is not None and basic.path_length < depth:
            raise denied("Untrusted certificate. The path is too long")
    for cert in [*path, anchor]:
        if not cert.not_valid_before_utc <= now <= cert.not_valid_after_utc:
            raise denied("Untrusted certificate. It is expired or not yet good")
        if not isinstance(cert.signature_hash_algorithm, (SHA256, SHA384, SHA512)):
            raise denied("Untrusted certificate. Insufficient hash")


def issued(below, above):
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def check_body(body, headers, known):
    try:
        asked = json.loads(body)
    except ValueError as error:
        raise Refused("ValidationException", "the body is no JSON") from error
    if not isinstance(asked, dict) or not asked.keys() <= FIELDS or "json" not in headers["content-type"]:
        raise Refused("ValidationException", "the body is not what is expected")
    for name in ("profileArn", "roleArn", "trustAnchorArn"):
        if not isinstance(asked.get(name), str) or not asked[name].startswith("arn:"):
            raise Refused("ValidationException", f"{name} is missing or no ARN")
    seconds = asked.get("durationSeconds", 3600)
    if not isinstance(seconds, int) or not 900 <= seconds <= 43200:
        raise Refused("ValidationException", "durationSeconds must be from 900 to 43200")
    name = asked.get("roleSessionName")
    if name is not None and not (isinstance(name, str) and re.fullmatch(r"[\w+=,.@-]{2,64}", name, re.ASCII)):
        raise Refused("ValidationException", "roleSessionName is malformed")
    if name is not None and not known["acceptRoleSessionName"]:
        raise Refused("ValidationException", "the profile does not accept a roleSessionName")
    for name, what in (("trustAnchorArn", "Trust anchor"), ("profileArn", "Profile")):
        if asked[name] != known[name]:
            raise Refused("ResourceNotFoundException", f"{what} not found")
    return asked, seconds


class Service:
    def __init__(self, known):
        self.known = known
        with open(known["ca"], "rb") as file:
            self.anchor = x509.load_pem_x509_certificate(file.read())

    def create_session(self, method, path, headers, body):
        now = datetime.now(timezone.utc)
        if (method, path) != ("POST", "/sessions"):
            raise Refused("ResourceNotFoundException", "there is nothing at this path")
        leaf = check_signature(method, path, headers, body, self.known["region"], now)
        asked, seconds = check_body(body, headers, self.known)
        shown = [certificate(text) for text in headers.get("x-amz-x509-chain", "").split(",") if text]
        check_trust(leaf, shown, self.anchor, now)
        if asked["roleArn"] != self.known["roleArn"]:
            raise denied(f"Unable to assume role for {asked['roleArn']}")
        return self.session(leaf, asked, now + timedelta(seconds=seconds))

    def session(self, leaf, asked, ends):
        name = asked.get("roleSessionName") or f"{leaf.serial_number:x}"
        account, role = asked["roleArn"].split(":")[4], asked["roleArn"].rsplit("/", 1)[1]
        keys = {
            "accessKeyId": "ASIA" + base64.b32encode(secrets.token_bytes(10)).decode(),
            "secretAccessKey": base64.b64encode(secrets.token_bytes(30)).decode(),
            "sessionToken": base64.b64encode(secrets.token_bytes(300)).decode(),
            "expiration": ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        user = {"arn": f"arn:aws:sts::{account}:assumed-role/{role}/{name}", "assumedRoleId": f"AROAKIT:{name}"}
        given = {"assumedRoleUser": user, "credentials": keys, "packedPolicySize": 5, "roleArn": asked["roleArn"]}
        return {"credentialSet": [given], "subjectArn": self.known["trustAnchorArn"].replace("trust-anchor", "subject")}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        headers = {}
        for name, value in self.headers.items():
            headers[name.lower()] = f"{headers[name.lower()]},{value}" if name.lower() in headers else value
        body = self.rfile.read(int(headers.get("content-length", 0)))
        extra = []
        try:
            status, said = 201, self.server.service.create_session(self.command, self.path, headers, body)
        except Refused as refused:
            status, said = STATUS[refused.code], {"message": refused.message}
            extra.append(("x-amzn-ErrorType", f"{refused.code}:http://internal.amazon.com/coral/"))
        said = json.dumps(said).encode()
        self.send_response(status)
        for name, value in [("Content-Type", "application/json"), ("Content-Length", str(len(said))), *extra]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = do_PUT = answer


def main(port_file, known):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.service = Service(json.loads(known))
    with open(port_file + ".new", "w", encoding="utf-8") as file:
        file.write(str(server.server_port))
    os.rename(port_file + ".new", port_file)
    server.serve_forever()


main(*sys.argv[1:])
