package payments;

import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsExchange;
import com.sun.net.httpserver.HttpsParameters;
import com.sun.net.httpserver.HttpsServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.cert.X509Certificate;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.regex.Pattern;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocketFactory;

/**
 * A service that takes payments from callers who show a token for them, verified by Nimbus JOSE + JWT.
 *
 * <pre>
 * ISSUER=https://leasehold.example.org AUDIENCE=https://payments.example.org \
 * TLS_CERT=payments.pem TLS_KEY=payments-key.pem TLS_CA=bundle.pem java -jar service.jar
 * </pre>
 *
 * <p>ISSUER_CA names a file where the issuer's certificate is of no authority that Java knows.
 */
public final class Service {
    private static final Pattern PATH = Pattern.compile("/tenants/([0-9]{1,9})/payments");

    public static void main(String[] args) throws Exception {
        // Else each answer waits for the client's delayed acknowledgement. It is read when the first server is made.
        System.setProperty("sun.net.httpserver.nodelay", "true");
        var authority = System.getenv("ISSUER_CA");
        var trusted = authority == null
                ? (SSLSocketFactory) SSLSocketFactory.getDefault()
                : Tls.context(Path.of(authority), null, null).getSocketFactory();
        var verifier = new Verifier(System.getenv("ISSUER"), System.getenv("AUDIENCE"), trusted);
        var ours = Tls.context(
                Path.of(System.getenv("TLS_CA")), Path.of(System.getenv("TLS_CERT")), Path.of(System.getenv("TLS_KEY")));
        var listen = System.getenv().getOrDefault("LISTEN", "127.0.0.1:8443").split(":");
        var server = HttpsServer.create(new InetSocketAddress(listen[0], Integer.parseInt(listen[1])), 128);
        server.setHttpsConfigurator(new Demanding(ours));
        server.setExecutor(Executors.newFixedThreadPool(32));
        server.createContext("/tenants/", exchange -> pay((HttpsExchange) exchange, verifier));
        server.start();
        System.out.printf("listening on %s:%d%n", listen[0], server.getAddress().getPort());
        // Else SIGTERM counts as a failure, 143.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> Runtime.getRuntime().halt(0)));
    }

    /** Callers show their SVIDs: tokens are bound to them. */
    private static final class Demanding extends HttpsConfigurator {
        Demanding(SSLContext context) {
            super(context);
        }

        @Override
        public void configure(HttpsParameters parameters) {
            var demanding = getSSLContext().getDefaultSSLParameters();
            demanding.setNeedClientAuth(true);
            parameters.setSSLParameters(demanding);
        }
    }

    private static void pay(HttpsExchange exchange, Verifier verifier) throws IOException {
        var path = PATH.matcher(exchange.getRequestURI().getPath());
        if (!exchange.getRequestMethod().equals("POST") || !path.matches()) {
            answer(exchange, 404, "only POST /tenants/N/payments");
            return;
        }
        var shown = exchange.getRequestHeaders().getFirst("Authorization");
        if (shown == null || !shown.regionMatches(true, 0, "Bearer ", 0, 7)) {
            exchange.getResponseHeaders().set("WWW-Authenticate", "Bearer");
            answer(exchange, 401, "no token");
            return;
        }
        try {
            var certificate = (X509Certificate) exchange.getSSLSession().getPeerCertificates()[0];
            var said = verifier.verify(shown.substring(7), certificate, "payments:write", Map.of("tenant", path.group(1)));
            answer(exchange, 200, said.getSubject() + " pays for tenant " + said.getClaim("tenant"));
        } catch (Verifier.Refused no) {
            var why = String.valueOf(no.getMessage()).replaceAll("[^ -~]|[\"\\\\]", "'");
            var challenge = "Bearer error=\"%s\", error_description=\"%s\"".formatted(no.error, why);
            exchange.getResponseHeaders().set("WWW-Authenticate", challenge);
            answer(exchange, no.status, why);
        }
    }

    private static void answer(HttpsExchange exchange, int status, String body) throws IOException {
        try (exchange) {
            var bytes = body.getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(status, bytes.length);
            exchange.getResponseBody().write(bytes);
        }
    }
}
