// A service that takes payments from callers who show a token for them, verified by golang-jwt with keyfunc.
//
//	ISSUER=https://leasehold.example.org AUDIENCE=https://payments.example.org \
//	TLS_CERT=payments.pem TLS_KEY=payments-key.pem TLS_CA=bundle.pem go run ./payments
//
// SSL_CERT_FILE names a file where the issuer's certificate is of no authority that this machine knows.
package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"
)

// How far clocks may be apart.
const leeway = 10 * time.Second

// Claims are what is looked at of a token.
type Claims struct {
	jwt.RegisteredClaims
	Scope        string `json:"scope"`
	Tenant       string `json:"tenant"`
	Confirmation struct {
		Thumbprint string `json:"x5t#S256"`
	} `json:"cnf"`
}

// Refused says why a token is not good, or not for this.
type Refused struct {
	Status     int
	Error, Why string
}

// Verifier verifies the tokens of one issuer for one audience. One for the whole process: it keeps the issuer's keys.
type Verifier struct {
	parser *jwt.Parser
	keys   keyfunc.Keyfunc
}

// NewVerifier reads where the issuer's keys are, and the keys.
func NewVerifier(ctx context.Context, issuer, audience string) (*Verifier, error) {
	client := &http.Client{Timeout: 5 * time.Second}
	answer, err := client.Get(issuer + "/.well-known/openid-configuration")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var discovery struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&discovery); err != nil {
		return nil, fmt.Errorf("%s answers %s: %w", issuer, answer.Status, err)
	}
	if discovery.Issuer != issuer {
		return nil, fmt.Errorf("%s says that it is %s", issuer, discovery.Issuer)
	}
	keys, err := keyfunc.NewDefaultOverrideCtx(ctx, []string{discovery.Keys}, keyfunc.Override{
		RefreshInterval: 5 * time.Minute,
		// For a key name that is not known. Those who come too early wait for their turn, but not for long.
		RefreshUnknownKID: rate.NewLimiter(rate.Every(30*time.Second), 1),
		RateLimitWaitMax:  time.Second,
	})
	if err != nil {
		return nil, err
	}
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{"ES256", "EdDSA", "RS256"}),
		jwt.WithIssuer(issuer),
		jwt.WithAudience(audience),
		jwt.WithExpirationRequired(),
		jwt.WithLeeway(leeway),
	)
	return &Verifier{parser, keys}, nil
}

// Verify answers what a good token says. certificate is the one that the caller has shown in TLS.
func (v *Verifier) Verify(token string, certificate *x509.Certificate, scope, tenant string) (*Claims, *Refused) {
	invalid := func(why string) (*Claims, *Refused) { return nil, &Refused{401, "invalid_token", why} }
	claims := &Claims{}
	_, err := v.parser.ParseWithClaims(token, claims, func(token *jwt.Token) (any, error) {
		// Whatever else the issuer signs is no access token.
		if token.Header["typ"] != "at+jwt" {
			return nil, errors.New("it is no access token (typ)")
		}
		return v.keys.Keyfunc(token)
	})
	if err != nil {
		return invalid(err.Error())
	}
	// golang-jwt takes a list that has ours in it.
	if len(claims.Audience) != 1 {
		return invalid("it is for others too (aud)")
	}
	if claims.Confirmation.Thumbprint == "" {
		return invalid("it is bound to no certificate")
	}
	hash := sha256.Sum256(certificate.Raw)
	if claims.Confirmation.Thumbprint != base64.RawURLEncoding.EncodeToString(hash[:]) {
		return invalid("it is bound to another certificate")
	}
	if !slices.Contains(strings.Split(claims.Scope, " "), scope) {
		return nil, &Refused{403, "insufficient_scope", "the scope " + scope + " is missing"}
	}
	if claims.Tenant != tenant {
		return nil, &Refused{403, "insufficient_scope", "tenant is another"}
	}
	return claims, nil
}

func (v *Verifier) pay(w http.ResponseWriter, r *http.Request) {
	kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(kind, "Bearer") {
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "no token", 401)
		return
	}
	claims, no := v.Verify(token, r.TLS.PeerCertificates[0], "payments:write", r.PathValue("tenant"))
	if no != nil {
		why := plain(no.Why)
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer error="%s", error_description="%s"`, no.Error, why))
		http.Error(w, why, no.Status)
		return
	}
	fmt.Fprintf(w, "%s pays for tenant %s", claims.Subject, claims.Tenant)
}

// Text that can stand between quotes in a header.
func plain(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return '\''
		}
		return c
	}, text)
}

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil && !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	verifier, err := NewVerifier(ctx, os.Getenv("ISSUER"), os.Getenv("AUDIENCE"))
	if err != nil {
		return err
	}
	bundle, err := os.ReadFile(os.Getenv("TLS_CA"))
	if err != nil {
		return err
	}
	callers := x509.NewCertPool()
	callers.AppendCertsFromPEM(bundle)
	address := os.Getenv("LISTEN")
	if address == "" {
		address = "127.0.0.1:8443"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	routes := http.NewServeMux()
	routes.HandleFunc("POST /tenants/{tenant}/payments", verifier.pay)
	server := &http.Server{
		Handler:           routes,
		ReadHeaderTimeout: 10 * time.Second,
		// Callers show their SVIDs: tokens are bound to them.
		TLSConfig: &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: callers},
	}
	context.AfterFunc(ctx, func() { server.Close() })
	fmt.Println("listening on", listener.Addr())
	return server.ServeTLS(listener, os.Getenv("TLS_CERT"), os.Getenv("TLS_KEY"))
}
