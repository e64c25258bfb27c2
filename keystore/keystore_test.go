package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"

	"github.com/labiium/chat2response/keystore"
	"github.com/labiium/chat2response/store"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		runChild(path)
	}
	goleak.VerifyTestMain(m)
}

var (
	ctx = context.Background()
	me  = keystore.Actor{ID: "tester", RemoteIP: "192.0.2.1"}
)

// clock is a clock that stands still until it is moved.
type clock struct{ seconds atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.seconds.Store(1_800_000_000)
	return c
}

func (c *clock) now() time.Time          { return time.Unix(c.seconds.Load(), 0) }
func (c *clock) advance(d time.Duration) { c.seconds.Add(int64(d / time.Second)) }

// backends are the stores of one process; Redis has its own tests.
var backends = map[string]func(t testing.TB) store.Store{
	"memory": func(t testing.TB) store.Store { return openStore(t, &store.Memory{Name: t.Name()}) },
	"bbolt": func(t testing.TB) store.Store {
		return openStore(t, &store.Bbolt{Path: filepath.Join(t.TempDir(), "keys.db")})
	},
}

func openStore(t testing.TB, m interface {
	store.Module
	caddy.Provisioner
}) store.Store {
	t.Helper()
	if err := m.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	s, err := m.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func newKeys(t testing.TB, s store.Store, c keystore.Config) *keystore.Keys {
	t.Helper()
	k, err := keystore.New(s, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	return k
}

func inMemory(t testing.TB, c keystore.Config) (*keystore.Keys, store.Store) {
	s := backends["memory"](t)
	return newKeys(t, s, c), s
}

func mint(t testing.TB, k *keystore.Keys, req keystore.GenerateRequest) keystore.Created {
	t.Helper()
	if req.TTLSeconds == nil && req.ExpiresAt == nil {
		req.TTLSeconds = new(uint64(3600))
	}
	c, err := k.Generate(ctx, req, me)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func want(t testing.TB, err, sentinel error) {
	t.Helper()
	if !errors.Is(err, sentinel) || (sentinel == nil && err != nil) {
		t.Fatalf("got error %v; want %v", err, sentinel)
	}
}

// put stores a record as somebody else might have written it.
func put(t testing.TB, s store.Store, id, record string) {
	t.Helper()
	old, err := s.Get(ctx, keystore.Space, id)
	if errors.Is(err, store.ErrNotFound) {
		old = nil
	}
	want(t, s.Swap(ctx, store.Change{Space: keystore.Space, ID: id, Old: old, New: []byte(record), Score: 1}), nil)
}

const (
	vectorID     = "0123456789abcdef0123456789abcdef"
	vectorSecret = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	vectorToken  = "sk_" + vectorID + "." + vectorSecret
	vectorHash   = "95e66ce408bcb45134e08d159c51e1f4f3432cba4204228e3473e5648bb4408e"
	vectorRecord = `{"id":"` + vectorID + `","label":"ci","created_at":1757379600,"expires_at":null,"revoked_at":null,` +
		`"salt_hex":"000102030405060708090a0b0c0d0e0f","hash_hex":"` + vectorHash + `","scopes":["a","b"]}`
)

// The original hashes raw salt and raw secret. Its record verifies and lists here.
func TestRecordOfTheOriginal(t *testing.T) {
	for name, open := range backends {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			k := newKeys(t, s, keystore.Config{Policy: keystore.DefaultPolicy()})
			put(t, s, vectorID, vectorRecord)
			key, err := k.Verify(ctx, vectorToken)
			want(t, err, nil)
			if key.ID != vectorID || *key.Label != "ci" || key.Owner() != vectorID || key.Hint() != "sk_01234567...." {
				t.Fatalf("got %+v", key.Record)
			}
			list, err := k.List(ctx, keystore.ListRequest{})
			want(t, err, nil)
			if len(list.Keys) != 1 || list.Keys[0].Status != "active" || len(list.Keys[0].Scopes) != 2 {
				t.Fatalf("got %+v", list)
			}
			// The hash of the secret's hex text is another, and must not be accepted.
			put(t, s, vectorID, strings.Replace(vectorRecord, vectorHash, "2b97d521"+vectorHash[8:], 1))
			_, err = k.Verify(ctx, vectorToken)
			want(t, err, keystore.ErrInvalidKey)
		})
	}
}

// A record of ours has the original's eight members in its order, explicit nulls included, then ours.
func TestRecordForTheOriginal(t *testing.T) {
	k, s := inMemory(t, keystore.Config{Policy: keystore.DefaultPolicy()})
	c := mint(t, k, keystore.GenerateRequest{TTLSeconds: new(uint64(60))})
	raw, err := s.Get(ctx, keystore.Space, c.ID)
	want(t, err, nil)
	shape := regexp.MustCompile(`^\{"id":"[0-9a-f]{32}","label":null,"created_at":\d+,"expires_at":\d+,"revoked_at":null,` +
		`"salt_hex":"[0-9a-f]{32}","hash_hex":"[0-9a-f]{64}","scopes":null,"created_by":"tester"\}$`)
	if !shape.Match(raw) {
		t.Fatalf("record is %s", raw)
	}
	if !regexp.MustCompile(keystore.TokenPattern).MatchString("key: "+*c.Token+";") || len(*c.Token) != keystore.TokenLength {
		t.Fatalf("token is not of the published shape (%d bytes)", len(*c.Token))
	}
	if c.ID[12] != '4' || !strings.ContainsRune("89ab", rune(c.ID[16])) {
		t.Fatalf("id %s is not a version 4 UUID", c.ID)
	}
}

// What this version does not know stays, byte for byte, through every kind of rewrite.
func TestUnknownMembersAreKept(t *testing.T) {
	for _, unknown := range []string{
		`"quota":{"b":1,"a":[1.0,1e2,12345678901234567890]}`,
		`"text":"A\u00e9\/\u2028","other":null`,
		`"spaced": { "x" : [ 1 , 2 ] }`,
		`"Models":["not ours"],"ID":"not ours"`,
	} {
		k, s := inMemory(t, keystore.Config{Policy: keystore.Policy{AllowNoExpiration: true}})
		put(t, s, vectorID, vectorRecord[:len(vectorRecord)-1]+","+unknown+"}")
		_, err := k.SetExpiration(ctx, keystore.SetExpirationRequest{ID: vectorID, TTLSeconds: new(uint64(9))}, me)
		want(t, err, nil)
		_, err = k.Revoke(ctx, vectorID, me)
		want(t, err, nil)
		raw, err := s.Get(ctx, keystore.Space, vectorID)
		want(t, err, nil)
		compact := regexp.MustCompile(`^(".*?"):\s`).ReplaceAllString(unknown, "$1:")
		if !strings.HasSuffix(string(raw), ","+unknown+"}") && !strings.HasSuffix(string(raw), ","+compact+"}") {
			t.Errorf("unknown members changed:\n was %s\n now %s", unknown, raw)
		}
	}
}

func TestTokenShape(t *testing.T) {
	k, s := inMemory(t, keystore.Config{})
	put(t, s, vectorID, vectorRecord)
	upper := strings.ToUpper
	for _, test := range []struct {
		name, token string
		err         error
	}{
		{"as minted", vectorToken, nil},
		{"upper-case id", "sk_" + upper(vectorID) + "." + vectorSecret, nil},
		{"upper-case secret", "sk_" + vectorID + "." + upper(vectorSecret), nil},
		{"empty", "", keystore.ErrInvalidKey},
		{"upper-case prefix", "SK_" + vectorToken[3:], keystore.ErrInvalidKey},
		{"short id", "sk_" + vectorID[1:] + "." + vectorSecret, keystore.ErrInvalidKey},
		{"long id", "sk_" + vectorID + "0." + vectorSecret, keystore.ErrInvalidKey},
		{"short id, long secret", "sk_" + vectorID[1:] + ".0" + vectorSecret, keystore.ErrInvalidKey},
		{"short secret", "sk_" + vectorID + "." + vectorSecret[:62], keystore.ErrInvalidKey},
		{"odd secret", "sk_" + vectorID + "." + vectorSecret[:63], keystore.ErrInvalidKey},
		{"long secret", "sk_" + vectorID + "." + vectorSecret + "00", keystore.ErrInvalidKey},
		{"not hex", "sk_" + vectorID + "." + vectorSecret[:63] + "g", keystore.ErrInvalidKey},
		{"id not hex", "sk_g" + vectorID[1:] + "." + vectorSecret, keystore.ErrInvalidKey},
		{"no dot", "sk_" + vectorID + "0" + vectorSecret, keystore.ErrInvalidKey},
		{"space before", " " + vectorToken, keystore.ErrInvalidKey},
		{"space within", vectorToken[:50] + " " + vectorToken[51:], keystore.ErrInvalidKey},
		{"newline after", vectorToken + "\n", keystore.ErrInvalidKey},
		{"wrong secret", vectorToken[:99] + "0", keystore.ErrInvalidKey},
		{"unknown id", "sk_f" + vectorToken[4:], keystore.ErrInvalidKey},
		{"somebody's OpenAI key", "sk-proj-" + strings.Repeat("a", 92), keystore.ErrInvalidKey},
	} {
		if _, err := k.Verify(ctx, test.token); !errors.Is(err, test.err) || (test.err == nil && err != nil) {
			t.Errorf("%s: %v; want %v", test.name, err, test.err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(vectorToken)
	f.Add("sk_" + vectorID)
	f.Add(strings.Repeat("\x00", 100))
	k, s := inMemory(f, keystore.Config{})
	put(f, s, vectorID, vectorRecord)
	f.Fuzz(func(t *testing.T, token string) {
		_, err := k.Verify(ctx, token)
		if err == nil && !strings.EqualFold(token, vectorToken) {
			t.Fatalf("%q was let in", token)
		}
		if err != nil && !errors.Is(err, keystore.ErrInvalidKey) {
			t.Fatal(err)
		}
	})
}

// State is for those who have the secret; a store that fails is never "invalid".
func TestVerifyAnswers(t *testing.T) {
	c := newClock()
	k, s := inMemory(t, keystore.Config{Policy: keystore.DefaultPolicy(), Now: c.now})
	good := mint(t, k, keystore.GenerateRequest{TTLSeconds: new(uint64(100))})
	wrong := (*good.Token)[:99] + flip((*good.Token)[99])
	check := func(token string, sentinel error) {
		t.Helper()
		_, err := k.Verify(ctx, token)
		want(t, err, sentinel)
	}
	check(*good.Token, nil)
	check(wrong, keystore.ErrInvalidKey)
	c.advance(99 * time.Second)
	check(*good.Token, nil)
	want(t, k.Recheck(ctx, good.ID), nil)
	c.advance(time.Second) // now == expires_at
	check(*good.Token, keystore.ErrExpired)
	want(t, k.Recheck(ctx, good.ID), keystore.ErrExpired)
	check(wrong, keystore.ErrInvalidKey)
	_, err := k.Revoke(ctx, good.ID, me)
	want(t, err, nil)
	check(*good.Token, keystore.ErrRevoked) // revoked goes before expired
	want(t, k.Recheck(ctx, good.ID), keystore.ErrRevoked)
	check(wrong, keystore.ErrInvalidKey)

	for name, record := range map[string]string{
		"not JSON":        `{"id":`,
		"another's":       strings.Replace(vectorRecord, vectorID, "f"+vectorID[1:], 1),
		"short hash":      strings.Replace(vectorRecord, vectorHash, vectorHash[2:], 1),
		"no hash":         `{"id":"` + vectorID + `"}`,
		"negative time":   strings.Replace(vectorRecord, `"expires_at":null`, `"expires_at":-1`, 1),
		"two revoked_at":  strings.Replace(vectorRecord, `"scopes"`, `"revoked_at":1,"scopes"`, 1),
		"salt not hex":    strings.Replace(vectorRecord, `"salt_hex":"00`, `"salt_hex":"zz`, 1),
		"JSON, not ours":  `[1,2,3]`,
		"a null for id":   strings.Replace(vectorRecord, `"id":"`+vectorID+`"`, `"id":null`, 1),
		"revoked as text": strings.Replace(vectorRecord, `"revoked_at":null`, `"revoked_at":"1"`, 1),
	} {
		put(t, s, vectorID, record)
		_, err := k.Verify(ctx, vectorToken)
		if !errors.Is(err, keystore.ErrStoreUnavailable) {
			t.Errorf("record %s: %v; want 503", name, err)
		}
		if strings.Contains(fmt.Sprint(err), vectorHash[:20]) {
			t.Errorf("record %s: the error shows the hash: %v", name, err)
		}
	}
	_ = s.Close()
	check(*good.Token, keystore.ErrStoreUnavailable)
	check(vectorToken, keystore.ErrStoreUnavailable)
	_, err = k.Verify(ctx, *good.Token)
	want(t, err, store.ErrClosed) // the cause is there for the log
	if e, ok := errors.AsType[*keystore.Error](err); !ok || e.Status != 503 || e.RetryAfter == 0 {
		t.Fatalf("got %#v", err)
	}
}

func flip(c byte) string {
	if c == '0' {
		return "1"
	}
	return "0"
}

func TestPermissions(t *testing.T) {
	r := func(scopes, models, tools []string) *keystore.Record {
		return &keystore.Record{Scopes: scopes, Models: models, Tools: tools}
	}
	list := func(s ...string) []string { return s }
	for _, test := range []struct {
		name string
		err  error
		want error
	}{
		{"no scopes, chat", r(nil, nil, nil).CheckEndpoint(keystore.ScopeChat), nil},
		{"label only, chat", r(list("team-a", "other"), nil, nil).CheckEndpoint(keystore.ScopeChat), nil},
		{"unknown endpoint, chat", r(list("endpoint:other"), nil, nil).CheckEndpoint(keystore.ScopeChat), keystore.ErrScopeMissing},
		{"responses only, chat", r(list(keystore.ScopeResponses), nil, nil).CheckEndpoint(keystore.ScopeChat), keystore.ErrScopeMissing},
		{"responses only, responses", r(list("x", keystore.ScopeResponses), nil, nil).CheckEndpoint(keystore.ScopeResponses), nil},
		{"no admin", r(list("admin"), nil, nil).CheckAdmin(), keystore.ErrScopeMissing},
		{"admin", r(list(keystore.ScopeAdmin), nil, nil).CheckAdmin(), nil},
		{"all models", r(nil, nil, nil).CheckModel("x"), nil},
		{"no model", r(nil, []string{}, nil).CheckModel("x"), keystore.ErrModelNotAllowed},
		{"exact", r(nil, list("gpt-4o"), nil).CheckModel("gpt-4o"), nil},
		{"longer", r(nil, list("gpt-4o"), nil).CheckModel("gpt-4o-mini"), keystore.ErrModelNotAllowed},
		{"case", r(nil, list("gpt-4o"), nil).CheckModel("GPT-4o"), keystore.ErrModelNotAllowed},
		{"glob", r(nil, list("gpt-5", "gpt-4o-*"), nil).CheckModel("gpt-4o-mini"), nil},
		{"glob, nothing after", r(nil, list("gpt-4o-*"), nil).CheckModel("gpt-4o"), keystore.ErrModelNotAllowed},
		{"glob over a slash", r(nil, list("*/Qwen*-AWQ"), nil).CheckModel("a/b/Qwen3-32B-AWQ"), nil},
		{"glob backtracks", r(nil, list("*ab*c"), nil).CheckModel("aabxabyc"), nil},
		{"glob fails", r(nil, list("*ab*c"), nil).CheckModel("aabxabyd"), keystore.ErrModelNotAllowed},
		{"no other magic", r(nil, list("gpt-?"), nil).CheckModel("gpt-4"), keystore.ErrModelNotAllowed},
		{"a star as the model", r(nil, list("gpt-4"), nil).CheckModel("*"), keystore.ErrModelNotAllowed},
	} {
		if !errors.Is(test.err, test.want) || (test.want == nil && test.err != nil) {
			t.Errorf("%s: %v; want %v", test.name, test.err, test.want)
		}
	}
	for _, test := range []struct {
		tools     []string
		byDefault bool
		want      bool
	}{{nil, true, true}, {nil, false, false}, {[]string{}, true, false}, {list("fs_*"), false, true}, {list("web_*"), true, false}} {
		if got := r(nil, nil, test.tools).AllowsTool("fs_read", test.byDefault); got != test.want {
			t.Errorf("tools %v, default %v: %v", test.tools, test.byDefault, got)
		}
	}
}

func TestLimits(t *testing.T) {
	c := newClock()
	k, _ := inMemory(t, keystore.Config{Policy: keystore.DefaultPolicy(), Now: c.now})
	verify := func(created keystore.Created) *keystore.Key {
		key, err := k.Verify(ctx, *created.Token)
		want(t, err, nil)
		return key
	}

	free := verify(mint(t, k, keystore.GenerateRequest{}))
	release, q, err := k.Admit(free)
	want(t, err, nil)
	release()
	q.Header(func(name, value string) { t.Errorf("a key without limits has the header %s: %s", name, value) })

	slow := verify(mint(t, k, keystore.GenerateRequest{RPM: 3}))
	for i := range 3 {
		_, q, err := k.Admit(slow)
		want(t, err, nil)
		if q.Limit != 3 || q.Remaining != uint64(2-i) {
			t.Fatalf("after %d requests: %+v", i+1, q)
		}
	}
	_, q, err = k.Admit(slow)
	want(t, err, keystore.ErrRateLimited)
	e, _ := errors.AsType[*keystore.Error](err)
	if e.Status != 429 || e.RetryAfter != 20*time.Second || q.Remaining != 0 || q.Reset != time.Minute {
		t.Fatalf("got %+v with %+v", e, q)
	}
	headers := map[string]string{}
	q.Header(func(name, value string) { headers[name] = value })
	if headers["x-ratelimit-limit-requests"] != "3" || headers["x-ratelimit-remaining-requests"] != "0" || headers["x-ratelimit-reset-requests"] != "1m0s" {
		t.Fatalf("got %v", headers)
	}
	c.advance(20 * time.Second)
	_, _, err = k.Admit(slow)
	want(t, err, nil)
	_, _, err = k.Admit(slow)
	want(t, err, keystore.ErrRateLimited)

	two := verify(mint(t, k, keystore.GenerateRequest{MaxParallel: 2, RPM: 100}))
	first, _, err := k.Admit(two)
	want(t, err, nil)
	second, _, err := k.Admit(two)
	want(t, err, nil)
	_, q, err = k.Admit(two)
	want(t, err, keystore.ErrRateLimited)
	if q.Remaining != 98 { // a refusal for want of a slot is not counted
		t.Fatalf("got %+v", q)
	}
	first()
	first() // twice is once
	_, _, err = k.Admit(two)
	want(t, err, nil)
	_, _, err = k.Admit(two)
	want(t, err, keystore.ErrRateLimited)
	second()

	// Never more than max_parallel at one time.
	five := verify(mint(t, k, keystore.GenerateRequest{MaxParallel: 5}))
	var running, most atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 200 {
				release, _, err := k.Admit(five)
				if err != nil {
					continue
				}
				if n := running.Add(1); n > most.Load() {
					most.Store(n)
				}
				running.Add(-1)
				release()
			}
		})
	}
	wg.Wait()
	if most.Load() > 5 || most.Load() == 0 {
		t.Fatalf("%d at one time; at most 5 are allowed", most.Load())
	}
}
