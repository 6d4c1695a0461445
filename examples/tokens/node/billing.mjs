// A caller of payments that does all with openid-client: from discovery, with its SVID as client certificate, to a token; pays with
// it, asks what the broker says of it, and ends it.
//
//   ISSUER=https://leasehold.example.org BROKER_ID=spiffe://prod.example.org/leasehold AUDIENCE=https://payments.example.org \
//   PAYMENTS=https://payments.internal:8443 PAYMENTS_ID=spiffe://prod.example.org/ns/payments/sa/api TENANT=42 \
//   TLS_CERT=billing.pem TLS_KEY=billing-key.pem TLS_CA=bundle.pem node billing.mjs
//
// NODE_EXTRA_CA_CERTS names a file where the issuer's certificate is of no authority that Node knows.

import crypto from "node:crypto";
import fs from "node:fs";
import * as client from "openid-client";
import { Agent, fetch } from "undici";

const { ISSUER, BROKER_ID, AUDIENCE, PAYMENTS, PAYMENTS_ID, TENANT, TLS_CERT, TLS_KEY, TLS_CA } = process.env;
const [cert, key, ca] = [TLS_CERT, TLS_KEY, TLS_CA].map((file) => fs.readFileSync(file));

/** A `fetch` that shows our SVID, and wants to meet the one with this SPIFFE ID: an SVID names no host. */
function fetchFrom(id) {
  const checkServerIdentity = (_host, { subjectaltname }) =>
    subjectaltname === `URI:${id}` ? undefined : new Error(`this is not ${id} but ${subjectaltname}`);
  const dispatcher = new Agent({ connect: { cert, key, ca, checkServerIdentity } });
  return (url, options) => fetch(url, { ...options, dispatcher });
}

// Our SPIFFE ID is our client_id: the library wants one, the broker could do without.
const ourId = new crypto.X509Certificate(cert).subjectAltName.replace(/^URI:/, "");
const metadata = { use_mtls_endpoint_aliases: true };
const broker = await client.discovery(new URL(ISSUER), ourId, metadata, client.TlsClientAuth());
// Discovery is on the public listener, all else on the one that shows the broker's SVID.
broker[client.customFetch] = fetchFrom(BROKER_ID);

const ask = { resource: AUDIENCE, scope: "payments:write", tenant: TENANT };
const { access_token: token, scope, expires_in } = await client.clientCredentialsGrant(broker, ask);
console.log(`token: ${scope} for ${expires_in} s`);

const headers = { authorization: `Bearer ${token}` };
const paid = await fetchFrom(PAYMENTS_ID)(`${PAYMENTS}/tenants/${TENANT}/payments`, { method: "POST", headers });
console.log(`payments: ${paid.status} ${await paid.text()}`);

const isActive = async () => ((await client.tokenIntrospection(broker, token)).active ? "active" : "not active");
console.log(`introspection: ${await isActive()}`);
await client.tokenRevocation(broker, token);
console.log(`after revocation: ${await isActive()}`);
