package keystore_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/labiium/chat2response/keystore"
	"github.com/labiium/chat2response/store"
)

const childEnv = "CHAT2RESPONSE_KEYSTORE_CHILD"

// runChild does keys on the bbolt file that the environment names, and prints each act after it was acknowledged,
// until it is killed.
func runChild(path string) {
	s, err := (&store.Bbolt{Path: path}).Open(ctx)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	k, err := keystore.New(s, keystore.Config{Policy: keystore.DefaultPolicy()})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for range 4 {
		go func() {
			for {
				a, err := k.Generate(ctx, keystore.GenerateRequest{}, me)
				said("live", a.ID, *a.Token, err)
				b, err := k.Generate(ctx, keystore.GenerateRequest{}, me)
				said("live", b.ID, *b.Token, err)
				_, err = k.SetExpiration(ctx, keystore.SetExpirationRequest{ID: a.ID, TTLSeconds: new(uint64(1_000_000))}, me)
				said("extended", a.ID, *a.Token, err)
				_, err = k.Revoke(ctx, a.ID, me)
				said("revoked", a.ID, *a.Token, err)
				c, err := k.Rotate(ctx, keystore.RotateRequest{ID: b.ID}, me)
				said("expired", b.ID, *b.Token, err)
				said("live", c.ID, *c.Token, nil)
			}
		}()
	}
	select {}
}

// said prints a line in one write, so that the reader has it whole or not at all.
func said(what, id, token string, err error) {
	if err != nil {
		_, _ = os.Stdout.WriteString("error " + err.Error() + "\n")
		os.Exit(1)
	}
	_, _ = os.Stdout.WriteString(what + " " + id + " " + token + "\n")
}

// The process is killed again and again while it mints, revokes, extends and rotates: nothing it has acknowledged is
// lost, in particular no revocation.
func TestKill(t *testing.T) {
	kills := 100
	if testing.Short() {
		kills = 10
	}
	path := filepath.Join(t.TempDir(), "keys.db")
	type state struct{ what, token string }
	all := map[string]state{}
	rank := map[string]int{"live": 0, "extended": 1, "revoked": 2, "expired": 2}
	acts := 0
	for round := range kills {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childEnv+"="+path)
		out, err := child.StdoutPipe()
		want(t, err, nil)
		want(t, child.Start(), nil)
		lines := bufio.NewScanner(out)
		var timer *time.Timer
		touched := map[string]bool{}
		for lines.Scan() {
			if timer == nil {
				timer = time.AfterFunc(time.Duration(5+rand.IntN(35))*time.Millisecond, func() { _ = child.Process.Kill() })
			}
			f := strings.Fields(lines.Text())
			if len(f) != 3 || f[0] == "error" {
				t.Fatalf("the child said %q", lines.Text())
			}
			acts++
			touched[f[1]] = true
			if was, ok := all[f[1]]; !ok || rank[f[0]] > rank[was.what] {
				all[f[1]] = state{f[0], f[2]}
			}
		}
		_ = child.Wait()
		if timer == nil {
			t.Fatal("the child did nothing")
		}
		check := touched
		if round == kills-1 { // at last, everything of all rounds
			for id := range all {
				check[id] = true
			}
		}
		s, err := (&store.Bbolt{Path: path}).Open(ctx)
		want(t, err, nil)
		k := newKeys(t, s, keystore.Config{})
		for id := range check {
			_, err := k.Verify(ctx, all[id].token)
			switch state := all[id].what; {
			case state == "live" && err != nil && keystore.ErrExpired.Is(err), state == "extended" && err != nil && keystore.ErrRevoked.Is(err):
				// the next act on it was made and not acknowledged any more
			case state == "revoked":
				want(t, err, keystore.ErrRevoked)
			case state == "expired":
				want(t, err, keystore.ErrExpired)
			default:
				want(t, err, nil)
			}
		}
		want(t, k.Close(), nil)
		want(t, s.Close(), nil)
	}
	s := openStore(t, &store.Bbolt{Path: path})
	list, err := newKeys(t, s, keystore.Config{}).List(ctx, keystore.ListRequest{})
	want(t, err, nil)
	if len(list.Keys) < len(all) {
		t.Fatalf("%d keys listed; %d were acknowledged", len(list.Keys), len(all))
	}
	t.Logf("%d kills, %d acknowledged acts on %d keys, none lost", kills, acts, len(all))
}
