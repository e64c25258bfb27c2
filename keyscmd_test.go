package chat2response

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-json-experiment/json"

	"github.com/labiium/chat2response/keystore"
	"github.com/labiium/chat2response/store"
)

// fullStore is a store on a disk that can be full.
type fullStore struct {
	store.Store
	full atomic.Bool
}

func (s *fullStore) Swap(ctx context.Context, c store.Change) error {
	if s.full.Load() {
		return fmt.Errorf("%w: bbolt: writing keys.db: %w", store.ErrUnavailable, syscall.ENOSPC)
	}
	return s.Store.Swap(ctx, c)
}

// keysCommandOn runs a command against an admin socket that serves keys as adminAPI does.
func keysCommandOn(t *testing.T, keys *keystore.Keys, args ...string) error {
	t.Helper()
	socket := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := socketError(serveKeys(w, r, strings.TrimPrefix(r.URL.Path, adminPrefix), keys, keystore.Actor{ID: "admin_socket"}))
		var refused caddy.APIError
		if errors.As(err, &refused) { // as Caddy answers it
			w.WriteHeader(refused.HTTPStatus)
			_ = json.MarshalWrite(w, refused)
		}
	}))
	defer socket.Close()
	out := os.Stdout
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout = null
	defer func() { os.Stdout = out; null.Close() }()
	cmd := keysCommand()
	cmd.SilenceErrors = true
	cmd.SetArgs(append(args, "--address", strings.TrimPrefix(socket.URL, "http://")))
	return cmd.Execute()
}

// A7: who revokes a key on a full disk reads that the key is refused, that this is not written, and why; not that the
// server may not be running. A5: who misspells a scope reads which one was meant.
func TestA7A5KeysCommandShowsWhatTheServerSays(t *testing.T) {
	memory, err := (&store.Memory{Name: t.Name(), MaxBytes: 1 << 20}).Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	s := &fullStore{Store: memory}
	keys, err := keystore.New(s, keystore.Config{Policy: keystore.DefaultPolicy()})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	created, err := keys.Generate(t.Context(), keystore.GenerateRequest{}, keystore.Actor{ID: "test"})
	if err != nil {
		t.Fatal(err)
	}
	says := func(err error, words ...string) {
		t.Helper()
		if err == nil {
			t.Fatalf("no error; want one that says %q", words)
		}
		for _, w := range append(words, "(HTTP ") {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%v; want %q in it", err, w)
			}
		}
		if strings.Contains(err.Error(), "is it running") {
			t.Error(err)
		}
	}
	says(keysCommandOn(t, keys, "create", "--scope", "endpoint:response"), "did you mean endpoint:responses?")
	s.full.Store(true)
	says(keysCommandOn(t, keys, "create"), "no space left on device")
	says(keysCommandOn(t, keys, "revoke", created.ID),
		"revoked in this gateway until it restarts", "NOT written", "no space left on device")
	if _, err := keys.Verify(t.Context(), *created.Token); !errors.Is(err, keystore.ErrRevoked) {
		t.Errorf("the key: %v", err)
	}
	s.full.Store(false)
	if err := keys.Maintain(t.Context()); err != nil {
		t.Error(err)
	}
	if err := keysCommandOn(t, keys, "create", "--scope", "endpoint:files,team-a"); err != nil {
		t.Error(err)
	}
}

// The help has every scope that there is.
func TestA5HelpListsTheScopes(t *testing.T) {
	help := createHelp()
	for _, e := range keystore.Endpoints() {
		if !strings.Contains(help, e.Scope) || !strings.Contains(help, e.Opens) {
			t.Errorf("%s is not in the help", e.Scope)
		}
	}
	// docs/keys.md has the same table.
	page, err := os.ReadFile("docs/keys.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range keystore.Endpoints() {
		byDefault := "by name"
		if e.ByDefault {
			byDefault = "yes"
		}
		if row := fmt.Sprintf("| `%s` | %s | %s |", e.Scope, e.Opens, byDefault); !strings.Contains(string(page), row) {
			t.Errorf("docs/keys.md does not have the row\n%s", row)
		}
	}
}
