// Package orders is what both services have in common: their settings, and the HTTP around one transaction.
package orders

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// Setting is what the environment says of name, else fallback.
func Setting(name, fallback string) string {
	return cmp.Or(os.Getenv(name), fallback)
}

// PoolSettings reads POOL_SIZE, and MAX_LIFETIME in seconds.
func PoolSettings() (size int, lifetime time.Duration, err error) {
	parsed, err := strconv.ParseUint(Setting("POOL_SIZE", "16"), 10, 16)
	if err != nil {
		return 0, 0, fmt.Errorf("POOL_SIZE: %w", err)
	}
	lifetime, err = time.ParseDuration(Setting("MAX_LIFETIME", "120") + "s")
	if err != nil {
		return 0, 0, fmt.Errorf("MAX_LIFETIME: %w", err)
	}
	return int(parsed), lifetime, nil
}

// Serve answers POST /orders?ms=N by one insert that takes that long, until SIGTERM.
func Serve(insert func(ctx context.Context, ms int) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	listener, err := net.Listen("tcp", Setting("LISTEN", "127.0.0.1:8080"))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		ms, err := strconv.Atoi(cmp.Or(r.URL.Query().Get("ms"), "0"))
		if err != nil || ms < 0 || ms > 10_000 {
			http.Error(w, "ms must be 0 to 10000", http.StatusBadRequest)
			return
		}
		if err := insert(r.Context(), ms); err != nil {
			log.Print("order failed: ", err)
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, "ok")
	})
	server := &http.Server{Handler: mux}
	go server.Serve(listener)
	fmt.Println("listening on", listener.Addr())

	<-ctx.Done()
	grace, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if server.Shutdown(grace) != nil {
		server.Close() // cancels what is still under way
	}
	return nil
}
