package standin

import (
	"context"
	"errors"
	"os"
	"testing"
)

// ForTest starts a part in a directory of its own and stops it when the test
// ends. Where the program is missing it skips the test, or, when
// EXCHANGE_STRICT=1, fails it. It does here what exchangetest.Skip does: this
// package belongs to programs as well, and they have no use for what
// exchangetest brings.
func ForTest(t testing.TB, start func(context.Context, string) (*Server, error)) *Server {
	t.Helper()
	// Not t.TempDir: PostgreSQL, which root runs as another user, could not
	// enter it.
	dir, err := os.MkdirTemp("", "standin-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("removing what a stand-in left: %v", err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := start(t.Context(), dir)
	if errors.Is(err, ErrMissing) {
		if os.Getenv("EXCHANGE_STRICT") == "1" {
			t.Fatalf("strict: a skip is a failure: %v", err)
		}
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}
