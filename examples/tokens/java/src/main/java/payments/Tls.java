package payments;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.List;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** TLS by files in PEM. */
final class Tls {
    private Tls() {}

    /** Trusts these authorities and no others, and shows this certificate, or none. */
    static SSLContext context(Path authorities, Path certificate, Path key) throws GeneralSecurityException, IOException {
        var trusted = store();
        for (var authority : certificates(authorities)) {
            trusted.setCertificateEntry(String.valueOf(trusted.size()), authority);
        }
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(trusted);
        var context = SSLContext.getInstance("TLS");
        context.init(certificate == null ? null : keys(certificate, key), trust.getTrustManagers(), null);
        return context;
    }

    private static KeyManager[] keys(Path certificate, Path key) throws GeneralSecurityException, IOException {
        var chain = certificates(certificate);
        var text = Files.readString(key).replaceAll("-----[A-Z ]+-----|\\s", "");
        var algorithm = chain.get(0).getPublicKey().getAlgorithm();
        var read = KeyFactory.getInstance(algorithm).generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(text)));
        var ours = store();
        ours.setKeyEntry("ours", read, new char[0], chain.toArray(Certificate[]::new));
        var keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(ours, new char[0]);
        return keys.getKeyManagers();
    }

    private static List<Certificate> certificates(Path file) throws GeneralSecurityException, IOException {
        try (var stream = Files.newInputStream(file)) {
            return List.copyOf(CertificateFactory.getInstance("X.509").generateCertificates(stream));
        }
    }

    private static KeyStore store() throws GeneralSecurityException, IOException {
        var store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        return store;
    }
}
