//go:build live

package redis_test

import (
	"crypto/rand"
	"crypto/tls"
	"os"
	"testing"

	"github.com/redis/rueidis"

	"github.com/castlecloud/exchange/adapters/redis"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

// TestLive runs the suite on ElastiCache, with encryption in transit, under a
// prefix of its own for each case; it removes nothing, so use one for tests.
// EXCHANGE_REDIS_ADDR is the configuration endpoint with its port;
// EXCHANGE_REDIS_USER and EXCHANGE_REDIS_PASSWORD are those of AUTH or RBAC.
func TestLive(t *testing.T) {
	addr := os.Getenv("EXCHANGE_REDIS_ADDR")
	if addr == "" {
		t.Fatal("EXCHANGE_REDIS_ADDR is needed")
	}
	c := connect(t, rueidis.ClientOption{InitAddress: []string{addr}, Username: os.Getenv("EXCHANGE_REDIS_USER"), Password: os.Getenv("EXCHANGE_REDIS_PASSWORD"),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12}})
	exchangetest.TestBookStore(t, func(t testing.TB) pipeline.BookStore {
		return newStore(t, c, redis.Config{Prefix: "live-" + rand.Text()})
	})
}
