package payments;

import com.nimbusds.jose.JOSEException;
import com.nimbusds.jose.JOSEObjectType;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.KeySourceException;
import com.nimbusds.jose.RemoteKeySourceException;
import com.nimbusds.jose.crypto.ECDSAVerifier;
import com.nimbusds.jose.crypto.RSASSAVerifier;
import com.nimbusds.jose.jwk.JWK;
import com.nimbusds.jose.jwk.JWKMatcher;
import com.nimbusds.jose.jwk.JWKSelector;
import com.nimbusds.jose.jwk.OctetKeyPair;
import com.nimbusds.jose.jwk.source.JWKSource;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.jwk.source.RateLimitReachedException;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jose.util.DefaultResourceRetriever;
import com.nimbusds.jose.util.JSONObjectUtils;
import com.nimbusds.jose.util.X509CertUtils;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.SignedJWT;
import com.nimbusds.jwt.proc.BadJWTException;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import java.io.IOException;
import java.net.URI;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.Signature;
import java.security.cert.X509Certificate;
import java.security.spec.X509EncodedKeySpec;
import java.text.ParseException;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import javax.net.ssl.SSLSocketFactory;

/** Verifies the tokens of one issuer for one audience. One for the whole process: it keeps the issuer's keys. */
final class Verifier {
    /** How far clocks may be apart, in seconds. */
    private static final int LEEWAY = 10;

    private static final JOSEObjectType ACCESS_TOKEN = new JOSEObjectType("at+jwt");

    /** What stands before the 32 bytes of an Ed25519 key in DER (RFC 8410 section 4). */
    private static final byte[] ED25519 = HexFormat.of().parseHex("302a300506032b6570032100");

    /** Why a token is not good, or not for this. */
    static final class Refused extends Exception {
        final int status;
        final String error;

        Refused(int status, String error, String why) {
            super(why);
            this.status = status;
            this.error = error;
        }
    }

    private final JWKSource<SecurityContext> keys;
    private final DefaultJWTClaimsVerifier<SecurityContext> claims;

    Verifier(String issuer, String audience, SSLSocketFactory tls) throws IOException, ParseException {
        var retriever = new DefaultResourceRetriever(5000, 5000, 256 * 1024, true, tls);
        var url = URI.create(issuer + "/.well-known/openid-configuration").toURL();
        var discovery = JSONObjectUtils.parse(retriever.retrieveResource(url).getContent());
        if (!issuer.equals(discovery.get("issuer"))) {
            throw new IOException(issuer + " says that it is " + discovery.get("issuer"));
        }
        var address = URI.create(JSONObjectUtils.getString(discovery, "jwks_uri")).toURL();
        // Read again every 5 minutes, and for a key name that is not known, but not more than twice in 30 s.
        keys = JWKSourceBuilder.<SecurityContext>create(address, retriever).build();
        var exact = new JWTClaimsSet.Builder().issuer(issuer).build();
        claims = new DefaultJWTClaimsVerifier<>(audience, exact, Set.of("exp", "sub", "scope"));
        claims.setMaxClockSkew(LEEWAY);
    }

    /** What a good token says. The certificate is the one that the caller has shown in TLS. */
    JWTClaimsSet verify(String token, X509Certificate certificate, String scope, Map<String, String> wanted) throws Refused {
        try {
            var jwt = SignedJWT.parse(token);
            // Whatever else the issuer signs is no access token.
            if (!ACCESS_TOKEN.equals(jwt.getHeader().getType())) {
                throw invalid("it is no access token (typ)");
            }
            var found = keys.get(new JWKSelector(JWKMatcher.forJWSHeader(jwt.getHeader())), null);
            if (found.isEmpty() || !isSignedBy(found.get(0), jwt)) {
                throw invalid(found.isEmpty() ? "the issuer has no such key" : "the signature is wrong");
            }
            var said = jwt.getJWTClaimsSet();
            claims.verify(said, null);
            // Nimbus takes a list that has ours in it.
            if (said.getAudience().size() != 1) {
                throw invalid("it is for others too (aud)");
            }
            var confirmation = said.getJSONObjectClaim("cnf");
            if (confirmation == null || confirmation.get("x5t#S256") == null) {
                throw invalid("it is bound to no certificate");
            }
            if (!X509CertUtils.computeSHA256Thumbprint(certificate).toString().equals(confirmation.get("x5t#S256"))) {
                throw invalid("it is bound to another certificate");
            }
            if (!List.of(said.getStringClaim("scope").split(" ")).contains(scope)) {
                throw new Refused(403, "insufficient_scope", "the scope " + scope + " is missing");
            }
            for (var claim : wanted.entrySet()) {
                if (!claim.getValue().equals(said.getClaim(claim.getKey()))) {
                    throw new Refused(403, "insufficient_scope", claim.getKey() + " is another");
                }
            }
            return said;
        } catch (RemoteKeySourceException e) {
            throw new Refused(503, "temporarily_unavailable", "the issuer's keys are not at hand");
        } catch (RateLimitReachedException e) {
            throw invalid("the issuer had no such key a moment ago");
        } catch (ParseException | BadJWTException | KeySourceException e) {
            throw invalid(e.getMessage());
        } catch (JOSEException | GeneralSecurityException e) {
            throw invalid("the signature cannot be verified");
        }
    }

    /** The key decides how, and what the token says must be the same. */
    private static boolean isSignedBy(JWK key, SignedJWT jwt) throws JOSEException, GeneralSecurityException {
        if (!jwt.getHeader().getAlgorithm().equals(key.getAlgorithm())) {
            return false;
        } else if (key.getAlgorithm().equals(JWSAlgorithm.ES256)) {
            return jwt.verify(new ECDSAVerifier(key.toECKey()));
        } else if (key.getAlgorithm().equals(JWSAlgorithm.RS256)) {
            return jwt.verify(new RSASSAVerifier(key.toRSAKey()));
        }
        return key.getAlgorithm().equals(JWSAlgorithm.EdDSA) && isSignedByEd25519(key.toOctetKeyPair(), jwt);
    }

    /** Nimbus needs another library for this. Java has it since 15. */
    private static boolean isSignedByEd25519(OctetKeyPair key, SignedJWT jwt) throws GeneralSecurityException {
        var der = new byte[ED25519.length + 32];
        System.arraycopy(ED25519, 0, der, 0, ED25519.length);
        System.arraycopy(key.getDecodedX(), 0, der, ED25519.length, 32);
        var signature = Signature.getInstance("Ed25519");
        signature.initVerify(KeyFactory.getInstance("Ed25519").generatePublic(new X509EncodedKeySpec(der)));
        signature.update(jwt.getSigningInput());
        return signature.verify(jwt.getSignature().decode());
    }

    private static Refused invalid(String why) {
        return new Refused(401, "invalid_token", why);
    }
}
