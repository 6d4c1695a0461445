// A service that takes payments from callers who show a token for them, verified by jose.
//
//   ISSUER=https://leasehold.example.org AUDIENCE=https://payments.example.org \
//   TLS_CERT=payments.pem TLS_KEY=payments-key.pem TLS_CA=bundle.pem node payments.mjs
//
// NODE_EXTRA_CA_CERTS names a file where the issuer's certificate is of no authority that Node knows.

import crypto from "node:crypto";
import fs from "node:fs";
import https from "node:https";
import { createRemoteJWKSet, errors, jwtVerify } from "jose";

const { LISTEN = "127.0.0.1:8443", ISSUER, AUDIENCE, TLS_CERT, TLS_KEY, TLS_CA } = process.env;

class Refused extends Error {
  constructor(status, error, why) {
    super(why);
    Object.assign(this, { status, error });
  }
}

/** Verifies the tokens of one issuer for one audience. One for the whole process: it keeps the issuer's keys. */
async function verifierOf(issuer, audience) {
  const answer = await fetch(`${issuer}/.well-known/openid-configuration`, { signal: AbortSignal.timeout(5000) });
  if (!answer.ok) throw new Error(`${issuer} answers ${answer.status}`);
  const discovery = await answer.json();
  if (discovery.issuer !== issuer) throw new Error(`${issuer} says that it is ${discovery.issuer}`);
  // Read again every 10 minutes, and once for a key name that is not known, but not twice in 30 s.
  const keys = createRemoteJWKSet(new URL(discovery.jwks_uri));
  const options = {
    algorithms: ["ES256", "EdDSA", "RS256"],
    typ: "at+jwt", // whatever else the issuer signs is no access token
    issuer,
    audience,
    requiredClaims: ["exp", "sub"],
    clockTolerance: 10, // how far clocks may be apart, in seconds
  };

  /** What a good token says. `certificate` is the one that the caller has shown in TLS, in DER. */
  return async function verify(token, certificate, scope, claims) {
    let said;
    try {
      ({ payload: said } = await jwtVerify(token, keys, options));
    } catch (error) {
      const isOfKeys = ["ERR_JOSE_GENERIC", "ERR_JWKS_TIMEOUT", "ERR_JWKS_INVALID"].includes(error.code);
      if (error instanceof errors.JOSEError && !isOfKeys) throw new Refused(401, "invalid_token", error.message);
      throw new Refused(503, "temporarily_unavailable", "the issuer's keys are not at hand");
    }
    // jose takes a list that has ours in it too.
    if (said.aud !== audience) throw new Refused(401, "invalid_token", "aud is not one text");
    const boundTo = said.cnf?.["x5t#S256"];
    if (typeof boundTo !== "string") throw new Refused(401, "invalid_token", "it is bound to no certificate");
    if (!certificate || boundTo !== crypto.createHash("sha256").update(certificate).digest("base64url")) {
      throw new Refused(401, "invalid_token", "it is bound to another certificate");
    }
    if (!said.scope?.split(" ").includes(scope)) {
      throw new Refused(403, "insufficient_scope", `the scope ${scope} is missing`);
    }
    for (const [name, wanted] of Object.entries(claims)) {
      if (said[name] !== wanted) throw new Refused(403, "insufficient_scope", `${name} is another`);
    }
    return said;
  };
}

const verify = await verifierOf(ISSUER, AUDIENCE);

const tls = {
  cert: fs.readFileSync(TLS_CERT),
  key: fs.readFileSync(TLS_KEY),
  ca: fs.readFileSync(TLS_CA),
  requestCert: true, // callers show their SVIDs: tokens are bound to them
  rejectUnauthorized: true,
};

const server = https.createServer(tls, async (request, response) => {
  const answer = (status, text, challenge) => {
    if (challenge) response.setHeader("www-authenticate", challenge);
    response.statusCode = status;
    response.end(text);
  };
  const path = /^\/tenants\/([0-9]{1,9})\/payments$/.exec(request.url);
  if (request.method !== "POST" || !path) return answer(404, "only POST /tenants/N/payments");
  const [, token] = /^bearer (.*)$/i.exec(request.headers.authorization ?? "") ?? [];
  if (!token) return answer(401, "no token", "Bearer");
  try {
    const said = await verify(token, request.socket.getPeerCertificate().raw, "payments:write", { tenant: path[1] });
    answer(200, `${said.sub} pays for tenant ${said.tenant}`);
  } catch (no) {
    if (!(no instanceof Refused)) throw no;
    const why = no.message.replace(/[^ -~]|["\\]/g, "'");
    answer(no.status, why, `Bearer error="${no.error}", error_description="${why}"`);
  }
});

const [, host, port] = LISTEN.match(/^(.*):(\d+)$/);
server.listen(Number(port), host, () => console.log(`listening on ${host}:${server.address().port}`));
process.on("SIGTERM", () => process.exit(0));
