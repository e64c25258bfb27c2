package store_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"

	"github.com/labiium/chat2response/store"
	"github.com/labiium/chat2response/store/storetest"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(childEnv); what != "" {
		runChild(what)
		return
	}
	goleak.VerifyTestMain(m)
}

// provisioned is what both kinds of test need: a module as Caddy would hand it over.
func provision[M interface {
	store.Module
	caddy.Provisioner
}](t testing.TB, m M) M {
	t.Helper()
	if err := m.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if v, ok := any(m).(caddy.Validator); ok {
		if err := v.Validate(); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// open opens m and closes it with the test.
func open(t testing.TB, m store.Module) store.Store {
	t.Helper()
	s, err := m.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func newMemory(t testing.TB) store.Store {
	return open(t, provision(t, &store.Memory{Name: t.Name()}))
}

func newBbolt(t testing.TB) store.Store {
	return open(t, provision(t, &store.Bbolt{Path: filepath.Join(t.TempDir(), "store.db")}))
}

func TestMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return newMemory(t) })
}

func TestBbolt(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return newBbolt(t) })
}
