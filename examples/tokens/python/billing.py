"""A caller of payments that does all with Authlib: from discovery, with its SVID as client certificate, to a token; pays with it,
asks what the broker says of it, and ends it.

    ISSUER=https://leasehold.example.org BROKER_ID=spiffe://prod.example.org/leasehold AUDIENCE=https://payments.example.org \
    PAYMENTS=https://payments.internal:8443 PAYMENTS_ID=spiffe://prod.example.org/ns/payments/sa/api TENANT=42 \
    TLS_CERT=billing.pem TLS_KEY=billing-key.pem TLS_CA=bundle.pem python3 billing.py

ISSUER_CA names a file where the issuer's certificate is of no authority that this machine knows.
"""

import os
import ssl

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from requests.adapters import HTTPAdapter
from urllib3 import HTTPSConnectionPool
from urllib3.connection import HTTPSConnection

ISSUER, AUDIENCE, TENANT = os.environ["ISSUER"], os.environ["AUDIENCE"], os.environ["TENANT"]


class SpiffeConnection(HTTPSConnection):
    """Wants to meet the SVID with this SPIFFE ID: an SVID names no host."""

    def __init__(self, *args, spiffe_id: str, **more) -> None:
        super().__init__(*args, **more)
        self.spiffe_id = spiffe_id

    def connect(self) -> None:
        super().connect()  # the handshake has verified the certificate against the bundle
        names = self.sock.getpeercert().get("subjectAltName")
        if names != (("URI", self.spiffe_id),):
            self.close()
            raise ssl.SSLCertVerificationError(f"this is not {self.spiffe_id} but {names}")


class SpiffePool(HTTPSConnectionPool):
    ConnectionCls = SpiffeConnection


class SpiffeAdapter(HTTPAdapter):
    """Shows our SVID to the one who has this SPIFFE ID."""

    def __init__(self, spiffe_id: str) -> None:
        self.spiffe_id = spiffe_id
        super().__init__()

    def init_poolmanager(self, *args, **more) -> None:
        tls = ssl.create_default_context(cafile=os.environ["TLS_CA"])
        tls.load_cert_chain(os.environ["TLS_CERT"], os.environ["TLS_KEY"])
        tls.check_hostname = False
        super().init_poolmanager(*args, ssl_context=tls, assert_hostname=False, **more)
        pool = lambda *args, **more: SpiffePool(*args, spiffe_id=self.spiffe_id, **more)
        self.poolmanager.pool_classes_by_scheme = {"https": pool}

    def cert_verify(self, *_) -> None:
        pass  # it would load the authorities of the public web beside the bundle


def discover() -> AuthorizationServerMetadata:
    answer = requests.get(get_well_known_url(ISSUER, external=True), verify=os.environ.get("ISSUER_CA", True), timeout=5)
    answer.raise_for_status()
    metadata = AuthorizationServerMetadata(answer.json())
    metadata.validate()
    if metadata["issuer"] != ISSUER:
        raise ValueError(f"{ISSUER} says that it is {metadata['issuer']}")
    return metadata


def main() -> None:
    endpoints = discover()["mtls_endpoint_aliases"]
    # RFC 8705: the certificate says who we are, and nothing in the form need. Authlib knows no such method by itself.
    by_certificate = "tls_client_auth"
    session = OAuth2Session(
        scope="payments:write",
        token_endpoint_auth_method=by_certificate,
        revocation_endpoint_auth_method=by_certificate,
    )
    session.register_client_auth_method((by_certificate, lambda _client, _method, uri, headers, body: (uri, headers, body)))
    session.mount("https://", SpiffeAdapter(os.environ["BROKER_ID"]))
    session.mount(os.environ["PAYMENTS"], SpiffeAdapter(os.environ["PAYMENTS_ID"]))

    token = session.fetch_token(
        endpoints["token_endpoint"], grant_type="client_credentials", resource=AUDIENCE, tenant=TENANT
    )
    print(f"token: {token['scope']} for {token['expires_in']} s")

    paid = session.post(f"{os.environ['PAYMENTS']}/tenants/{TENANT}/payments", timeout=5)
    print(f"payments: {paid.status_code} {paid.text}")

    def is_active() -> str:
        answer = session.introspect_token(endpoints["introspection_endpoint"], token["access_token"])
        return "active" if answer.json()["active"] else "not active"

    print(f"introspection: {is_active()}")
    session.revoke_token(endpoints["revocation_endpoint"], token["access_token"]).raise_for_status()
    print(f"after revocation: {is_active()}")


if __name__ == "__main__":
    main()
