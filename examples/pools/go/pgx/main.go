// A service whose pgxpool lives through every rotation of its login.
//
// The agent keeps a file of the format "json" up to date, and each new connection logs in by what it says at that moment.
//
//	CREDENTIAL_FILE=/run/secrets/orders/db.json go run ./pgx
//	curl -X POST 'http://127.0.0.1:8080/orders?ms=50'
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"pools/internal/orders"
)

func main() {
	log.SetFlags(0)
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	pool, err := newPool(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := pool.Ping(ctx); err != nil { // a service that cannot log in should not start
		return err
	}
	return orders.Serve(func(ctx context.Context, ms int) error {
		half := float64(ms) / 2000
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SELECT pg_sleep($1)", half); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "INSERT INTO orders (note) VALUES ($1)", "from pgx"); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "SELECT pg_sleep($1)", half)
			return err
		})
	})
}

func newPool(ctx context.Context) (*pgxpool.Pool, error) {
	size, lifetime, err := orders.PoolSettings()
	if err != nil {
		return nil, err
	}
	first, err := readLogin()
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(first.URL)
	if err != nil {
		return nil, err
	}
	config.MaxConns = int32(size)
	config.BeforeConnect = func(_ context.Context, next *pgx.ConnConfig) error {
		// One reading for both: user name and password are always of the same generation.
		login, err := readLogin()
		next.User, next.Password = login.Username, login.Password
		return err
	}
	// The jitter is added to the lifetime: the role's overlap must be longer than both together. The pool looks at the age
	// when it hands a connection out, when it comes back, and once a minute at those that lie idle.
	config.MaxConnLifetime = lifetime * 9 / 10
	config.MaxConnLifetimeJitter = lifetime / 10
	// ShouldPing stays as it is. A session whose login was dropped still answers a ping, so that none would find it, and a
	// session can end right after its ping. Only age keeps operations away from old logins.
	return pgxpool.NewWithConfig(ctx, config)
}

type login struct {
	Username string `json:"username"`
	Password string `json:"password"`
	URL      string `json:"url"`
}

func readLogin() (login login, err error) {
	text, err := os.ReadFile(orders.Setting("CREDENTIAL_FILE", "/run/secrets/orders/db.json"))
	if err != nil {
		return login, err
	}
	err = json.Unmarshal(text, &login)
	return login, err
}
