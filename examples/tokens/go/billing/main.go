// A caller of payments that fetches its tokens by golang.org/x/oauth2, with its SVID as client certificate.
//
//	ISSUER=https://leasehold.example.org BROKER_ID=spiffe://prod.example.org/leasehold AUDIENCE=https://payments.example.org \
//	PAYMENTS=https://payments.internal:8443 PAYMENTS_ID=spiffe://prod.example.org/ns/payments/sa/api TENANT=42 \
//	TLS_CERT=billing.pem TLS_KEY=billing-key.pem TLS_CA=bundle.pem go run ./billing
//
// SSL_CERT_FILE names a file where the issuer's certificate is of no authority that this machine knows.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

func main() {
	log.SetFlags(0)
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	endpoint, err := tokenEndpoint(os.Getenv("ISSUER"))
	if err != nil {
		return err
	}
	broker, err := clientOf(os.Getenv("BROKER_ID"))
	if err != nil {
		return err
	}
	payments, err := clientOf(os.Getenv("PAYMENTS_ID"))
	if err != nil {
		return err
	}
	tenant := os.Getenv("TENANT")
	config := clientcredentials.Config{
		// Without a ClientID: the broker knows us by our certificate.
		AuthStyle:      oauth2.AuthStyleInParams,
		TokenURL:       endpoint,
		Scopes:         []string{"payments:write"},
		EndpointParams: url.Values{"resource": {os.Getenv("AUDIENCE")}, "tenant": {tenant}},
	}
	// Keeps a token until shortly before its end. One bound to a certificate that was renewed meanwhile is no good: then make
	// another source.
	tokens := config.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, broker))
	token, err := tokens.Token()
	if err != nil {
		return err
	}
	fmt.Printf("token: %s for %.0f s\n", token.Extra("scope"), time.Until(token.Expiry).Seconds())

	ask, err := http.NewRequest("POST", os.Getenv("PAYMENTS")+"/tenants/"+tenant+"/payments", nil)
	if err != nil {
		return err
	}
	token.SetAuthHeader(ask)
	paid, err := payments.Do(ask)
	if err != nil {
		return err
	}
	defer paid.Body.Close()
	said, err := io.ReadAll(paid.Body)
	fmt.Printf("payments: %d %s\n", paid.StatusCode, said)
	return err
}

// A client that shows our SVID, and wants to meet the one with this SPIFFE ID: an SVID names no host.
func clientOf(name string) (*http.Client, error) {
	id, err := spiffeid.FromString(name)
	if err != nil {
		return nil, err
	}
	svid, err := x509svid.Load(os.Getenv("TLS_CERT"), os.Getenv("TLS_KEY"))
	if err != nil {
		return nil, err
	}
	bundle, err := x509bundle.Load(id.TrustDomain(), os.Getenv("TLS_CA"))
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{TLSClientConfig: tlsconfig.MTLSClientConfig(svid, bundle, tlsconfig.AuthorizeID(id))}
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}, nil
}

func tokenEndpoint(issuer string) (string, error) {
	client := &http.Client{Timeout: 5 * time.Second}
	answer, err := client.Get(issuer + "/.well-known/oauth-authorization-server")
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	var discovery struct {
		Issuer    string `json:"issuer"`
		Endpoints struct {
			Token string `json:"token_endpoint"`
		} `json:"mtls_endpoint_aliases"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&discovery); err != nil {
		return "", fmt.Errorf("%s answers %s: %w", issuer, answer.Status, err)
	}
	if discovery.Issuer != issuer {
		return "", fmt.Errorf("%s says that it is %s", issuer, discovery.Issuer)
	}
	return discovery.Endpoints.Token, nil
}
