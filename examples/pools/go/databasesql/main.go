// A service whose database/sql pool lives through every rotation of its login.
//
// Each new connection asks the agent's socket whom to log in as.
//
//	AGENT_SOCKET=/run/leasehold/agent.sock CREDENTIAL=orders go run ./databasesql
//	curl -X POST 'http://127.0.0.1:8080/orders?ms=50'
package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"pools/internal/orders"
)

func main() {
	log.SetFlags(0)
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	size, lifetime, err := orders.PoolSettings()
	if err != nil {
		return err
	}
	socket := orders.Setting("AGENT_SOCKET", "/run/leasehold/agent.sock")
	db := sql.OpenDB(newAgent(socket, orders.Setting("CREDENTIAL", "orders")))
	defer db.Close()
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size) // unless said it is 2, and all others are closed after each use
	// The pool looks at the age when it hands a connection out, when it comes back, and now and then at those that lie idle.
	// A ping cannot stand in for it: a session whose login was dropped still answers one, and any can end right after it.
	db.SetConnMaxLifetime(lifetime)
	if err := db.PingContext(ctx); err != nil { // a service that cannot log in should not start
		return err
	}
	return orders.Serve(func(ctx context.Context, ms int) error { return insertOrder(ctx, db, ms) })
}

func insertOrder(ctx context.Context, db *sql.DB, ms int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // nothing is left to do for it after a commit
	half := float64(ms) / 2000
	if _, err := tx.ExecContext(ctx, "SELECT pg_sleep($1)", half); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders (note) VALUES ($1)", "from database/sql"); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "SELECT pg_sleep($1)", half); err != nil {
		return err
	}
	return tx.Commit()
}

// agent is a driver.Connector: each connection logs in by what the agent says at that moment.
type agent struct {
	client *http.Client
	url    string
	last   atomic.Pointer[pgx.ConnConfig]
}

func newAgent(socket, credential string) *agent {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &agent{
		client: &http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: 5 * time.Second},
		// It answers at once, unless it has only just started and has no login yet.
		url: "http://localhost/v1/credentials/" + url.PathEscape(credential) + "?wait=3s",
	}
}

func (a *agent) Connect(ctx context.Context) (driver.Conn, error) {
	config, err := a.ask(ctx)
	if err != nil {
		// An agent that is just being restarted is no reason to fail: the login that it gave last is likely still good.
		if config = a.last.Load(); config == nil {
			return nil, err
		}
		log.Print("taking the login known last: ", err)
	}
	a.last.Store(config)
	return stdlib.GetConnector(*config).Connect(ctx)
}

func (a *agent) Driver() driver.Driver { return stdlib.GetDefaultDriver() }

func (a *agent) ask(ctx context.Context) (*pgx.ConnConfig, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url, nil)
	if err != nil {
		return nil, err
	}
	response, err := a.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the agent answers %s", response.Status)
	}
	var supplied struct {
		Credential struct {
			URL string `json:"url"`
		} `json:"credential"`
	}
	if err := json.NewDecoder(response.Body).Decode(&supplied); err != nil {
		return nil, err
	}
	return pgx.ParseConfig(supplied.Credential.URL)
}
