package keystore_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/labiium/chat2response/keystore"
	"github.com/labiium/chat2response/store"
)

// The table of the original's README, as it should have been.
func TestPolicy(t *testing.T) {
	c := newClock()
	now := uint64(c.now().Unix())
	for _, test := range []struct {
		name         string
		allow        bool
		defaultTTL   uint64
		expires, ttl *uint64
		want         uint64 // seconds of life; 0: for ever
		param        string // of the refusal
	}{
		{"ttl", false, 0, nil, new(uint64(60)), 60, ""},
		{"ttl before default", true, 86400, nil, new(uint64(60)), 60, ""},
		{"ttl 0", true, 86400, nil, new(uint64(0)), 0, "ttl_seconds"},
		{"ttl of ten years", false, 0, nil, new(uint64(315360000)), 315360000, ""},
		{"ttl too long", true, 0, nil, new(uint64(315360001)), 0, "ttl_seconds"},
		{"ttl overflows", true, 0, nil, new(^uint64(0)), 0, "ttl_seconds"},
		{"expires_at", false, 0, new(now + 5), nil, 5, ""},
		{"expires_at before ttl", false, 0, new(now + 5), new(uint64(60)), 5, ""},
		{"expires_at now", true, 86400, new(now), nil, 0, "expires_at"},
		{"expires_at past", true, 86400, new(uint64(1)), nil, 0, "expires_at"},
		{"expires_at overflows", true, 0, new(^uint64(0)), nil, 0, "expires_at"},
		{"nothing, allow off", false, 0, nil, nil, 0, "expires_at"},
		{"nothing, allow on", true, 0, nil, nil, 0, ""},
		{"nothing, default", false, 86400, nil, nil, 86400, ""},
		{"nothing, default, allow on", true, 86400, nil, nil, 86400, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, _ := inMemory(t, keystore.Config{Policy: keystore.Policy{AllowNoExpiration: test.allow, DefaultTTL: test.defaultTTL}, Now: c.now})
			created, err := k.Generate(ctx, keystore.GenerateRequest{ExpiresAt: test.expires, TTLSeconds: test.ttl}, me)
			if test.param != "" {
				want(t, err, keystore.ErrInvalidValue)
				if e := err.(*keystore.Error); e.Param != test.param || e.Status != 400 {
					t.Fatalf("got %+v", e)
				}
				if list, _ := k.List(ctx, keystore.ListRequest{}); len(list.Keys) != 0 {
					t.Fatal("a refused key was stored")
				}
				return
			}
			want(t, err, nil)
			if test.want == 0 && created.ExpiresAt == nil {
				return
			}
			if created.ExpiresAt == nil || *created.ExpiresAt != now+test.want || created.CreatedAt != now {
				t.Fatalf("got %+v", created)
			}
		})
	}
}

func TestPolicyFromEnv(t *testing.T) {
	const p = "CHAT2RESPONSE_KEYS_"
	for _, test := range []struct {
		env    map[string]string
		want   keystore.Policy
		notice bool
		fails  bool
	}{
		{nil, keystore.DefaultPolicy(), false, false},
		{map[string]string{p + "ALLOW_NO_EXPIRATION": " Yes "}, keystore.Policy{AllowNoExpiration: true, DefaultTTL: 86400}, false, false},
		{map[string]string{p + "ALLOW_NO_EXPIRATION": "1", p + "REQUIRE_EXPIRATION": "1"}, keystore.Policy{AllowNoExpiration: true, DefaultTTL: 86400}, true, false},
		{map[string]string{p + "REQUIRE_EXPIRATION": "off", p + "DEFAULT_TTL_SECONDS": "0"}, keystore.Policy{}, true, false},
		{map[string]string{p + "DEFAULT_TTL_SECONDS": "60"}, keystore.Policy{DefaultTTL: 60}, false, false},
		{map[string]string{p + "DEFAULT_TTL_SECONDS": "1h"}, keystore.Policy{}, false, true},
		{map[string]string{p + "DEFAULT_TTL_SECONDS": "99999999999"}, keystore.Policy{}, false, true},
		{map[string]string{p + "ALLOW_NO_EXPIRATION": "perhaps"}, keystore.Policy{}, false, true},
	} {
		got, notice, err := keystore.PolicyFromEnv(func(name string) (string, bool) { v, ok := test.env[name]; return v, ok })
		if (err != nil) != test.fails || (err == nil && (got != test.want || (notice != "") != test.notice)) {
			t.Errorf("%v: %+v, %q, %v", test.env, got, notice, err)
		}
	}
}

func TestGenerateRefusals(t *testing.T) {
	k, _ := inMemory(t, keystore.Config{Policy: keystore.DefaultPolicy()})
	long := strings.Repeat("x", 300)
	for param, body := range map[string]string{
		"label":  `{"label":"` + long + `"}`,
		"scopes": `{"scopes":[""]}`,
		"models": `{"models":["` + long + `"]}`,
		"rpm":    `{"rpm":1000001}`,
		"meta":   `{"meta":[1]}`,
		"tenant": `{"tenant":"` + long + `"}`,
	} {
		var req keystore.GenerateRequest
		want(t, json.Unmarshal([]byte(body), &req), nil)
		_, err := k.Generate(ctx, req, me)
		want(t, err, keystore.ErrInvalidValue)
		if e := err.(*keystore.Error); e.Param != param {
			t.Errorf("%s: param is %q", body, e.Param)
		}
	}
	var req keystore.GenerateRequest
	if err := json.Unmarshal([]byte(`{"ttl_seconds":-1}`), &req); err == nil {
		t.Error("a negative ttl was read")
	}
	if err := json.Unmarshal([]byte(`{"label":null,"ttl_seconds":null,"expires_at":null,"scopes":null}`), &req); err != nil {
		t.Error(err)
	}
}

// The replies have the original's members in the original's order.
func TestReplies(t *testing.T) {
	c := newClock()
	k, _ := inMemory(t, keystore.Config{Policy: keystore.Policy{AllowNoExpiration: true}, Now: c.now})
	text := func(v any, err error) string {
		t.Helper()
		want(t, err, nil)
		b, err := json.Marshal(v)
		want(t, err, nil)
		return string(b)
	}
	created, err := k.Generate(ctx, keystore.GenerateRequest{}, me)
	want(t, err, nil)
	id := created.ID
	for got, wanted := range map[string]string{
		text(created, nil): `{"id":"` + id + `","token":"` + *created.Token + `","created_at":1800000000,"expires_at":null,"label":null,"scopes":null}`,
		text(k.SetExpiration(ctx, keystore.SetExpirationRequest{ID: id, TTLSeconds: new(uint64(9))}, me)): `{"updated":true,"id":"` + id + `","expires_at":1800000009}`,
		text(k.SetExpiration(ctx, keystore.SetExpirationRequest{ID: id, Clear: true}, me)):                `{"updated":true,"id":"` + id + `","expires_at":null}`,
		text(k.SetExpiration(ctx, keystore.SetExpirationRequest{ID: "nobody", Clear: true}, me)):          `{"updated":false,"id":"nobody"}`,
		text(k.Revoke(ctx, "nobody", me)): `{"revoked":false,"id":"nobody"}`,
	} {
		if got != wanted {
			t.Errorf("\n got %s\nwant %s", got, wanted)
		}
	}
	if got := text(k.Revoke(ctx, id, me)); got != `{"revoked":true,"id":"`+id+`"}` {
		t.Errorf("got %s", got)
	}
	if got := text(k.Revoke(ctx, id, me)); got != `{"revoked":false,"id":"`+id+`"}` {
		t.Errorf("got %s", got)
	}
	list, err := k.List(ctx, keystore.ListRequest{})
	want(t, err, nil)
	wanted := `[{"id":"` + id + `","label":null,"created_at":1800000000,"expires_at":null,"revoked_at":1800000000,"scopes":null,` +
		`"status":"revoked","hint":"sk_` + id[:8] + `....","last_used_at":null,"created_by":"tester"}]`
	if got := text(list.Keys, nil); got != wanted {
		t.Errorf("\n got %s\nwant %s", got, wanted)
	}
}

func TestSetExpiration(t *testing.T) {
	for _, test := range []struct {
		body  string
		allow bool
		want  string // expires_at relative to now; "x": refused
	}{
		{`{"id":"ID"}`, true, "x"},
		{`{"id":"ID","ttl_seconds":null}`, true, "x"},
		{`{"id":"ID","expires_at":null}`, false, "x"},
		{`{"id":"ID","expires_at":null}`, true, "never"},
		{`{"id":"ID","expires_at":null,"ttl_seconds":null}`, true, "never"},
		{`{"id":"ID","expires_at":null,"ttl_seconds":5}`, false, "5"},
		{`{"id":"ID","ttl_seconds":5}`, false, "5"},
		{`{"id":"ID","expires_at":1800000007,"ttl_seconds":5}`, false, "7"},
		{`{"id":"ID","expires_at":1800000000}`, true, "x"},
		{`{"id":"ID","ttl_seconds":0}`, true, "x"},
		{`{"id":"ID","ttl_seconds":18446744073709551615}`, true, "x"},
	} {
		c := newClock()
		k, _ := inMemory(t, keystore.Config{Policy: keystore.Policy{AllowNoExpiration: test.allow}, Now: c.now})
		created := mint(t, k, keystore.GenerateRequest{})
		var req keystore.SetExpirationRequest
		want(t, json.Unmarshal([]byte(strings.Replace(test.body, "ID", created.ID, 1)), &req), nil)
		got, err := k.SetExpiration(ctx, req, me)
		result := "never"
		switch {
		case err != nil:
			want(t, err, keystore.ErrInvalidValue)
			result = "x"
		case got.ExpiresAt != nil:
			result = fmt.Sprint(*got.ExpiresAt - 1800000000)
		}
		if result != test.want {
			t.Errorf("%s, allow %v: %s; want %s", test.body, test.allow, result, test.want)
		}
		_, err = k.Revoke(ctx, created.ID, me)
		want(t, err, nil)
	}
	var req keystore.SetExpirationRequest
	for _, bad := range []string{`{"id":"a","expires_at":-1}`, `{"id":"a","expires_at":"1"}`, `{"id":1}`, `[]`} {
		if err := json.Unmarshal([]byte(bad), &req); err == nil {
			t.Errorf("%s was read as %+v", bad, req)
		}
	}
}

// Revocation wins against everything that rewrites a record at the same moment.
func raceRevocation(t *testing.T, a, b *keystore.Keys, pairs int) {
	for i := range pairs {
		created := mint(t, a, keystore.GenerateRequest{})
		var wg sync.WaitGroup
		start := make(chan struct{})
		wg.Go(func() {
			<-start
			r, err := a.Revoke(ctx, created.ID, me)
			if err != nil || !r.Revoked {
				t.Errorf("revoke: %+v, %v", r, err)
			}
		})
		wg.Go(func() {
			<-start
			_, err := b.SetExpiration(ctx, keystore.SetExpirationRequest{ID: created.ID, TTLSeconds: new(uint64(7200))}, me)
			if err != nil {
				t.Errorf("set_expiration: %v", err)
			}
		})
		close(start)
		wg.Wait()
		if _, err := a.Verify(ctx, *created.Token); err == nil {
			t.Fatalf("pair %d: a revoked key was given back", i)
		}
		want(t, a.Recheck(ctx, created.ID), keystore.ErrRevoked)
	}
}

func TestRevokeRacesSetExpiration(t *testing.T) {
	for name, open := range backends {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			c := keystore.Config{Policy: keystore.DefaultPolicy()}
			raceRevocation(t, newKeys(t, s, c), newKeys(t, s, c), 500)
		})
	}
}

func TestRotate(t *testing.T) {
	c := newClock()
	k, s := inMemory(t, keystore.Config{Policy: keystore.DefaultPolicy(), Now: c.now})
	old := mint(t, k, keystore.GenerateRequest{
		Label: new("ci"), TTLSeconds: new(uint64(1000)), Scopes: []string{"x"}, Models: []string{"m"}, RPM: 5, MaxParallel: 6,
		Meta: []byte(`{"a":1}`),
	})
	_, err := k.SetExpiration(ctx, keystore.SetExpirationRequest{ID: old.ID, ExpiresAt: old.ExpiresAt}, me) // its Rev is 1 now
	want(t, err, nil)
	c.advance(100 * time.Second)
	req := keystore.RotateRequest{ID: old.ID, OverlapSeconds: 60, IdempotencyKey: "once"}
	next, err := k.Rotate(ctx, req, me)
	want(t, err, nil)
	if next.ID == old.ID || next.RotatedFrom != old.ID || *next.ExpiresAt != *old.ExpiresAt+100 || *next.Label != "ci" {
		t.Fatalf("got %+v", next)
	}
	key, err := k.Verify(ctx, *next.Token)
	want(t, err, nil)
	if key.Owner() != old.ID || key.RPM != 5 || key.MaxParallel != 6 || key.Models[0] != "m" || string(key.Meta) != `{"a":1}` || key.Rev != 0 {
		t.Fatalf("got %+v", key.Record)
	}
	_, err = k.Verify(ctx, *old.Token)
	want(t, err, nil)

	again, err := k.Rotate(ctx, req, me)
	want(t, err, nil)
	if again.ID != next.ID || again.Token != nil {
		t.Fatalf("the repetition gave %+v", again)
	}
	req.IdempotencyKey = "twice"
	_, err = k.Rotate(ctx, req, me)
	want(t, err, keystore.ErrRotated)
	req.IdempotencyKey = ""
	_, err = k.Rotate(ctx, req, me)
	want(t, err, keystore.ErrRotated)
	if list, _ := k.List(ctx, keystore.ListRequest{}); len(list.Keys) != 2 {
		t.Fatalf("%d keys; want 2", len(list.Keys))
	}

	c.advance(60 * time.Second)
	_, err = k.Verify(ctx, *old.Token)
	want(t, err, keystore.ErrExpired)
	_, err = k.Verify(ctx, *next.Token)
	want(t, err, nil)

	// The tenant stays through any number of rotations, and an overlap never lengthens a life.
	third, err := k.Rotate(ctx, keystore.RotateRequest{ID: next.ID, OverlapSeconds: 604800}, me)
	want(t, err, nil)
	key, err = k.Verify(ctx, *third.Token)
	want(t, err, nil)
	if key.Owner() != old.ID {
		t.Fatalf("tenant is %s; want %s", key.Owner(), old.ID)
	}
	list, err := k.List(ctx, keystore.ListRequest{Status: "active"})
	want(t, err, nil)
	for _, info := range list.Keys {
		if info.ID == next.ID && *info.ExpiresAt != *next.ExpiresAt {
			t.Fatalf("the overlap moved the end from %d to %d", *next.ExpiresAt, *info.ExpiresAt)
		}
	}

	for _, test := range []struct {
		req  keystore.RotateRequest
		want error
	}{
		{keystore.RotateRequest{ID: "nobody"}, keystore.ErrNoSuchKey},
		{keystore.RotateRequest{ID: strings.Repeat("0", 32)}, keystore.ErrNoSuchKey},
		{keystore.RotateRequest{ID: third.ID, OverlapSeconds: 604801}, keystore.ErrInvalidValue},
		{keystore.RotateRequest{ID: third.ID, IdempotencyKey: strings.Repeat("k", 300)}, keystore.ErrInvalidValue},
	} {
		_, err := k.Rotate(ctx, test.req, me)
		want(t, err, test.want)
	}
	_, err = k.Revoke(ctx, third.ID, me)
	want(t, err, nil)
	_, err = k.Rotate(ctx, keystore.RotateRequest{ID: third.ID}, me)
	want(t, err, keystore.ErrKeyNotActive)

	// Without an overlap the old key ends at once; a dead store changes nothing.
	fourth := mint(t, k, keystore.GenerateRequest{})
	_, err = k.Rotate(ctx, keystore.RotateRequest{ID: fourth.ID}, me)
	want(t, err, nil)
	_, err = k.Verify(ctx, *fourth.Token)
	want(t, err, keystore.ErrExpired)
	_ = s.Close()
	_, err = k.Rotate(ctx, keystore.RotateRequest{ID: fourth.ID}, me)
	want(t, err, keystore.ErrStoreUnavailable)
}

// However many repeat a rotation at once, one successor is left and one reply has its token.
func TestRotateOnce(t *testing.T) {
	for name, open := range backends {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			k := newKeys(t, s, keystore.Config{Policy: keystore.DefaultPolicy()})
			for range 20 {
				old := mint(t, k, keystore.GenerateRequest{})
				var mu sync.Mutex
				tokens, ids := 0, map[string]bool{}
				var wg sync.WaitGroup
				for range 8 {
					wg.Go(func() {
						c, err := k.Rotate(ctx, keystore.RotateRequest{ID: old.ID, OverlapSeconds: 60, IdempotencyKey: "k"}, me)
						if err != nil {
							t.Errorf("rotate: %v", err)
							return
						}
						mu.Lock()
						defer mu.Unlock()
						ids[c.ID] = true
						if c.Token != nil {
							tokens++
						}
					})
				}
				wg.Wait()
				if tokens != 1 || len(ids) != 1 {
					t.Fatalf("%d tokens, %d successors; want 1 and 1", tokens, len(ids))
				}
			}
			if list, _ := k.List(ctx, keystore.ListRequest{}); len(list.Keys) != 40 {
				t.Fatalf("%d keys; want 40", len(list.Keys))
			}
		})
	}
}

func TestPurge(t *testing.T) {
	for name, open := range backends {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			c.seconds.Store(time.Now().Unix()) // the store's own expiry goes by the real clock
			s := open(t)
			var purged int
			k := newKeys(t, s, keystore.Config{Policy: keystore.Policy{AllowNoExpiration: true}, Now: c.now,
				Audit: func(e keystore.Event) { purged += e.Count }})
			live, err := k.Generate(ctx, keystore.GenerateRequest{}, me)
			want(t, err, nil)
			revoked := mint(t, k, keystore.GenerateRequest{})
			expired := mint(t, k, keystore.GenerateRequest{TTLSeconds: new(uint64(10))})
			_, err = k.Verify(ctx, *expired.Token)
			want(t, err, nil)
			want(t, k.Maintain(ctx), nil) // writes the use
			_, err = k.Revoke(ctx, revoked.ID, me)
			want(t, err, nil)
			ids := func() (ids []string) {
				list, err := k.List(ctx, keystore.ListRequest{})
				want(t, err, nil)
				for _, info := range list.Keys {
					ids = append(ids, info.ID)
				}
				return ids
			}
			c.advance(100 * time.Second)
			for _, step := range []struct {
				age  uint64
				gone int
			}{{101, 0}, {95, 1}, {90, 1}, {0, 0}} {
				p, err := k.Purge(ctx, keystore.PurgeRequest{OlderThanSeconds: &step.age}, me)
				want(t, err, nil)
				if p.Purged != step.gone {
					t.Fatalf("older than %d: %d purged; want %d", step.age, p.Purged, step.gone)
				}
			}
			if got := ids(); len(got) != 1 || got[0] != live.ID {
				t.Fatalf("left: %v", got)
			}
			_, err = k.Verify(ctx, *expired.Token)
			want(t, err, keystore.ErrInvalidKey)

			// The timer: nothing before its time, then what died 30 days ago.
			late := mint(t, k, keystore.GenerateRequest{TTLSeconds: new(uint64(10))})
			purged = 0
			c.advance(29 * 24 * time.Hour)
			want(t, k.Maintain(ctx), nil)
			if purged != 0 || len(ids()) != 2 {
				t.Fatalf("%d purged too early", purged)
			}
			c.advance(2 * 24 * time.Hour)
			want(t, k.Maintain(ctx), nil)
			if got := ids(); purged != 1 || len(got) != 1 || got[0] == late.ID {
				t.Fatalf("%d purged; left %v", purged, got)
			}
		})
	}
}

func TestList(t *testing.T) {
	c := newClock()
	k, s := inMemory(t, keystore.Config{Policy: keystore.DefaultPolicy(), Now: c.now})
	var ids []string
	for i := range 25 {
		created := mint(t, k, keystore.GenerateRequest{Label: new(fmt.Sprint(i)), TTLSeconds: new(uint64(1000))})
		ids = append(ids, created.ID)
		if i%5 == 0 {
			_, err := k.Revoke(ctx, created.ID, me)
			want(t, err, nil)
		}
		if i == 7 {
			_, err := k.Verify(ctx, *created.Token)
			want(t, err, nil)
			want(t, k.Maintain(ctx), nil)
		}
		c.advance(time.Second)
	}
	put(t, s, vectorID, `{"id":"torn`)
	for _, test := range []struct {
		status string
		limit  int
		want   int
	}{{"", 0, 25}, {"", 4, 25}, {"active", 3, 20}, {"revoked", 2, 5}, {"expired", 2, 0}, {"", 25, 25}, {"", 1000, 25}} {
		var got []string
		req := keystore.ListRequest{Limit: test.limit, Status: test.status}
		for {
			list, err := k.List(ctx, req)
			want(t, err, nil)
			if test.limit > 0 && len(list.Keys) > test.limit {
				t.Fatalf("%+v gave %d keys", req, len(list.Keys))
			}
			for _, info := range list.Keys {
				if *info.Label == "7" && (info.LastUsedAt == nil || *info.LastUsedAt != info.CreatedAt) {
					t.Fatalf("last use of 7 is %v", info.LastUsedAt)
				}
				got = append(got, info.ID)
			}
			if list.Next == "" {
				break
			}
			req.After = list.Next
		}
		if len(got) != test.want {
			t.Errorf("status %q, limit %d: %d keys; want %d", test.status, test.limit, len(got), test.want)
		}
		if test.status == "" && strings.Join(got, " ") != strings.Join(ids, " ") {
			t.Errorf("limit %d: order is %v", test.limit, got)
		}
	}
	c.advance(1000 * time.Second)
	list, err := k.List(ctx, keystore.ListRequest{Status: "expired"})
	want(t, err, nil)
	if len(list.Keys) != 20 { // the other five are revoked
		t.Fatalf("%d keys have expired; want 20", len(list.Keys))
	}
	list, err = k.List(ctx, keystore.ListRequest{After: ids[20], Limit: 2})
	want(t, err, nil)
	if len(list.Keys) != 2 || list.Keys[0].ID != ids[21] {
		t.Fatalf("after an id: %+v", list)
	}
	for _, req := range []keystore.ListRequest{{Status: "dead"}, {Limit: -1}, {Limit: 1001}, {After: "nobody"}, {After: "1.x"}} {
		_, err := k.List(ctx, req)
		want(t, err, keystore.ErrInvalidValue)
	}
}

// The audit log names every act and holds no secret.
func TestAudit(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	k, s := inMemory(t, keystore.Config{Policy: keystore.DefaultPolicy(), Audit: keystore.AuditLog(zap.New(core))})
	created := mint(t, k, keystore.GenerateRequest{})
	_, _ = k.SetExpiration(ctx, keystore.SetExpirationRequest{ID: created.ID}, me)
	next, err := k.Rotate(ctx, keystore.RotateRequest{ID: created.ID}, me)
	want(t, err, nil)
	_, _ = k.Revoke(ctx, next.ID, me)
	_, _ = k.Revoke(ctx, *next.Token, me) // a token in the place of an id
	_, _ = k.Purge(ctx, keystore.PurgeRequest{}, me)
	raw, err := s.Get(ctx, keystore.Space, next.ID)
	want(t, err, nil)
	var record keystore.Record
	want(t, json.Unmarshal(raw, &record), nil)

	var actions []string
	for _, entry := range logs.All() {
		fields := entry.ContextMap()
		actions = append(actions, fmt.Sprint(fields["action"], " ", fields["ok"]))
		if fields["actor"] != "tester" || fields["remote_ip"] != "192.0.2.1" {
			t.Errorf("got %v", fields)
		}
		for _, secret := range []string{(*created.Token)[36:], (*next.Token)[36:], record.HashHex, record.SaltHex} {
			if strings.Contains(fmt.Sprint(entry.Message, fields), secret) {
				t.Errorf("a secret is in %v", fields)
			}
		}
	}
	wanted := "generate true, set_expiration false, rotate true, revoke true, revoke false, purge true"
	if got := strings.Join(actions, ", "); got != wanted {
		t.Errorf("\n got %s\nwant %s", got, wanted)
	}
}

// A dead record may be forgotten by the store 30 days later; a living one never.
func TestStoreExpiry(t *testing.T) {
	c := newClock()
	spy := &spyStore{}
	spy.Store = backends["memory"](t)
	k := newKeys(t, spy, keystore.Config{Policy: keystore.DefaultPolicy(), Now: c.now})
	created := mint(t, k, keystore.GenerateRequest{TTLSeconds: new(uint64(10))})
	if !spy.last.Expires.IsZero() || spy.last.Final {
		t.Fatalf("a new key is stored as %+v", spy.last)
	}
	c.advance(20 * time.Second)
	_, err := k.SetExpiration(ctx, keystore.SetExpirationRequest{ID: created.ID, TTLSeconds: new(uint64(10))}, me)
	want(t, err, nil)
	if !spy.last.Expires.IsZero() || !spy.last.Announce {
		t.Fatalf("a key made to live again is stored as %+v", spy.last)
	}
	c.advance(20 * time.Second)
	_, err = k.Revoke(ctx, created.ID, me)
	want(t, err, nil)
	died := time.Unix(int64(created.CreatedAt)+30, 0)
	if !spy.last.Expires.Equal(died.Add(keystore.Tombstone)) || !spy.last.Final || !spy.last.Announce {
		t.Fatalf("a dead key is stored as %+v", spy.last)
	}
	_, err = k.SetExpiration(ctx, keystore.SetExpirationRequest{ID: created.ID, TTLSeconds: new(uint64(10))}, me)
	want(t, err, nil)
	if spy.last.Expires.IsZero() {
		t.Fatal("a revoked key lost its expiry")
	}
}

type spyStore struct {
	store.Store
	last store.Change
}

func (s *spyStore) Swap(ctx context.Context, c store.Change) error {
	s.last = c
	return s.Store.Swap(ctx, c)
}
