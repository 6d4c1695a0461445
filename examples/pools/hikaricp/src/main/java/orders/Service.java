package orders;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import com.zaxxer.hikari.util.Credentials;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.SQLException;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.Executors;
import javax.sql.DataSource;

/**
 * A service whose HikariCP pool lives through every rotation of its login.
 *
 * <p>The agent keeps a file of the format "jdbc" up to date, and each new connection logs in by what it says at that moment.
 *
 * <pre>
 * CREDENTIAL_FILE=/run/secrets/orders/db.properties java -jar service.jar
 * curl -X POST 'http://127.0.0.1:8080/orders?ms=50'
 * </pre>
 */
public final class Service {
    private static final Path CREDENTIAL_FILE = Path.of(setting("CREDENTIAL_FILE", "/run/secrets/orders/db.properties"));

    public static void main(String[] args) throws IOException {
        // Else each answer waits for the client's delayed acknowledgement. It is read when the first server is made.
        System.setProperty("sun.net.httpserver.nodelay", "true");
        var pool = new HikariDataSource(poolConfig()); // makes a first connection, or fails
        var listen = setting("LISTEN", "127.0.0.1:8080").split(":");
        var server = HttpServer.create(new InetSocketAddress(listen[0], Integer.parseInt(listen[1])), 128);
        server.setExecutor(Executors.newFixedThreadPool(32));
        server.createContext("/orders", exchange -> answer(exchange, pool));
        server.start();
        System.out.printf("listening on %s:%d%n", listen[0], server.getAddress().getPort());
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            server.stop(1); // waits a second for what is under way
            pool.close();
            Runtime.getRuntime().halt(0); // else SIGTERM counts as a failure, 143
        }));
    }

    static HikariConfig poolConfig() {
        var maxLifetime = Duration.ofSeconds(Long.parseLong(setting("MAX_LIFETIME", "120")));
        if (maxLifetime.toSeconds() < 30) {
            // HikariCP would warn, and take half an hour in its place: far longer than a login that was replaced lives on.
            throw new IllegalArgumentException("MAX_LIFETIME must be at least 30 (seconds): HikariCP takes no less");
        }
        var config = new HikariConfig();
        config.setJdbcUrl(readCredential().getProperty("jdbcUrl"));
        config.setCredentialsProvider(() -> {
            // One reading for both: user name and password are always of the same generation.
            var credential = readCredential();
            return Credentials.of(credential.getProperty("username"), credential.getProperty("password"));
        });
        config.setMaximumPoolSize(Integer.parseInt(setting("POOL_SIZE", "16")));
        // No connection is older: HikariCP takes up to a quarter off, at random, and closes each at its age if it is idle, else
        // when it comes back.
        config.setMaxLifetime(maxLifetime.toMillis());
        // Neither keepalive nor a test query would help: a session whose login was dropped still answers them, and any can end
        // right after it answered.
        config.setKeepaliveTime(0);
        config.setAutoCommit(false);
        return config;
    }

    private static Properties readCredential() {
        var credential = new Properties();
        try (var reader = Files.newBufferedReader(CREDENTIAL_FILE)) {
            credential.load(reader);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return credential;
    }

    private static void insertOrder(DataSource pool, int ms) throws SQLException {
        try (var connection = pool.getConnection();
                var sleep = connection.prepareStatement("SELECT pg_sleep(?)");
                var insert = connection.prepareStatement("INSERT INTO orders (note) VALUES (?)")) {
            sleep.setDouble(1, ms / 2000.0);
            insert.setString(1, "from HikariCP");
            sleep.execute();
            insert.execute();
            sleep.execute();
            connection.commit(); // without it the pool rolls back
        }
    }

    private static void answer(HttpExchange exchange, DataSource pool) throws IOException {
        var query = exchange.getRequestURI().getQuery();
        if (!exchange.getRequestMethod().equals("POST") || query == null || !query.matches("ms=\\d{1,5}")) {
            answer(exchange, 400, "only POST /orders?ms=N");
            return;
        }
        var ms = Integer.parseInt(query.substring("ms=".length()));
        if (ms > 10_000) {
            answer(exchange, 400, "ms must be 0 to 10000");
            return;
        }
        try {
            insertOrder(pool, ms);
            answer(exchange, 200, "ok");
        } catch (SQLException e) {
            System.err.println("order failed: " + e.getMessage());
            answer(exchange, 500, String.valueOf(e.getMessage()));
        }
    }

    private static void answer(HttpExchange exchange, int status, String body) throws IOException {
        try (exchange) {
            var bytes = body.getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(status, bytes.length);
            exchange.getResponseBody().write(bytes);
        }
    }

    private static String setting(String name, String otherwise) {
        return System.getenv().getOrDefault(name, otherwise);
    }
}
