package chat2response

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"go.uber.org/zap"

	"github.com/labiium/chat2response/keystore"
	"github.com/labiium/chat2response/store"
)

// Keys says where the gateway's own API keys are kept, and for how long they are
// good. With it, every request for a model needs a key.
type Keys struct {
	// The store that holds the keys: `memory`, `bbolt` or `redis`, or another module
	// of the namespace. Default: bbolt, at its default path.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=http.chat2response.stores inline_key=backend"`

	// Do not ask clients for a key of the gateway: what they bring is the
	// upstream's, and is passed on. Keys can be minted all the same.
	// Default: false.
	Passthrough bool `json:"passthrough,omitempty"`

	// Allow keys that never expire. Default: false.
	AllowNoExpiration bool `json:"allow_no_expiration,omitempty"`

	// How long a key is good if its making does not say. Negative: none, and then
	// it must be said. Default: 24h.
	DefaultTTL caddy.Duration `json:"default_ttl,omitempty"`

	// How long a key read from Redis is believed without asking again, which is the
	// longest that a key revoked on another gateway still works here when the two
	// cannot talk. Negative: not at all. Default: 5s.
	CacheTTL caddy.Duration `json:"cache_ttl,omitempty"`

	// How long a key that was read before is good while the store does not answer;
	// at most 60s. Default: not at all.
	StaleOnError caddy.Duration `json:"stale_on_error,omitempty"`

	// How long a key is listed after it was revoked or has expired. Negative:
	// for ever. Default: 720h.
	PurgeAfter caddy.Duration `json:"purge_after,omitempty"`

	// Tokens of at least 24 bytes that open /keys to whoever has one, as
	// `Authorization: Bearer`; two allow one to be replaced. Placeholders {env.*} and
	// {file.*} are replaced. Default: the variable CHAT2RESPONSE_ADMIN_TOKEN, or the
	// file that CHAT2RESPONSE_ADMIN_TOKEN_FILE names; without any, /keys answers
	// only programs on the gateway's own machine.
	AdminTokens []string `json:"admin_tokens,omitempty"`

	// Answer /keys to everyone, as the original did. Default: false, or the variable
	// CHAT2RESPONSE_INSECURE_ADMIN.
	InsecureAdmin bool `json:"insecure_admin,omitempty"`

	// Do not answer /keys at all; there is still Caddy's admin socket.
	// Default: false.
	NoEndpoints bool `json:"no_endpoints,omitempty"`

	admins [][sha256.Size]byte
	ring   *keyring
	fails  *failures
}

const (
	defaultKeyTTL   = 24 * time.Hour
	minAdminToken   = 24
	adminTokenVar   = "CHAT2RESPONSE_ADMIN_TOKEN"
	insecureVar     = "CHAT2RESPONSE_INSECURE_ADMIN"
	maintainEvery   = time.Minute
	maintainTimeout = 30 * time.Second
)

func (k *Keys) provision(ctx caddy.Context, app *App) error {
	if k.DefaultTTL == 0 {
		k.DefaultTTL = caddy.Duration(defaultKeyTTL)
	}
	if k.StoreRaw == nil {
		k.StoreRaw = caddyconfig.JSONModuleObject(store.Bbolt{}, "backend", "bbolt", nil)
	}
	identity, err := json.Marshal(k)
	if err != nil {
		return err
	}
	var backend struct {
		Backend string `json:"backend"`
	}
	if err := json.Unmarshal(k.StoreRaw, &backend); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	mod, err := ctx.LoadModule(k, "StoreRaw")
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	module, ok := mod.(store.Module)
	if !ok {
		return fmt.Errorf("store %q is not a store", backend.Backend)
	}
	if err := k.provisionAdmins(); err != nil {
		return err
	}
	ttl := uint64(max(0, time.Duration(k.DefaultTTL)/time.Second))
	k.fails = new(failures)
	k.ring = app.keyring(string(identity), backend.Backend, module, keystore.Config{
		Policy:       keystore.Policy{AllowNoExpiration: k.AllowNoExpiration, DefaultTTL: ttl},
		CacheTTL:     time.Duration(k.CacheTTL),
		StaleOnError: time.Duration(k.StaleOnError),
		PurgeAfter:   time.Duration(k.PurgeAfter),
		Limits:       limits,
		Audit:        keystore.AuditLog(ctx.Logger().Named("audit")),
		Log:          ctx.Logger().Named("keys"),
	})
	return nil
}

// limits count what is running for each key, over reloads and in all stores: a
// key's id is unique.
var limits = keystore.NewLimits()

func (k *Keys) provisionAdmins() error {
	tokens := k.AdminTokens
	if len(tokens) == 0 {
		switch file := os.Getenv(adminTokenVar + "_FILE"); {
		case os.Getenv(adminTokenVar) != "":
			tokens = []string{"{env." + adminTokenVar + "}"}
		case file != "":
			tokens = []string{"{file." + file + "}"}
		}
	}
	if len(tokens) > 2 {
		return fmt.Errorf("admin_token: there are %d; two are enough to replace one", len(tokens))
	}
	for _, token := range tokens {
		token, err := caddy.NewReplacer().ReplaceOrErr(token, true, true)
		if err != nil {
			return fmt.Errorf("admin_token: %w", err)
		}
		if token = strings.TrimSpace(token); len(token) < minAdminToken {
			return fmt.Errorf("admin_token has %d bytes; it needs %d or more, and should be random (openssl rand -hex 32)", len(token), minAdminToken)
		}
		k.admins = append(k.admins, sha256.Sum256([]byte(token)))
	}
	switch v := strings.ToLower(os.Getenv(insecureVar)); v {
	case "1", "true", "yes", "on":
		k.InsecureAdmin = true
	case "", "0", "false", "no", "off":
	default:
		return fmt.Errorf("%s is %q, and must be 1 or 0", insecureVar, v)
	}
	return nil
}

// keyring is an open key store. Handlers with the same configuration share one.
type keyring struct {
	*opening
	name   string
	module store.Module
	config keystore.Config
	keys   *keystore.Keys
	store  store.Store
}

// open opens the store. It is called once, when the app starts.
func (r *keyring) open(ctx context.Context) error {
	var err error
	if r.store, err = r.module.Open(ctx); err != nil {
		return r.opened(err, nil)
	}
	if r.keys, err = keystore.New(r.store, r.config); err != nil {
		r.store.Close()
		return r.opened(err, nil)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { r.maintain(stop) })
	return r.opened(nil, func() {
		close(stop)
		wg.Wait()
		if err := errors.Join(r.keys.Close(), r.store.Close()); err != nil {
			r.config.Log.Error("closing the key store", zap.Error(err))
		}
	})
}

// maintain does what is due, until stop.
func (r *keyring) maintain(stop chan struct{}) {
	tick := time.NewTicker(maintainEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), maintainTimeout)
		if err := r.keys.Maintain(ctx); err != nil {
			r.config.Log.Warn("maintaining the keys", zap.Error(err))
		}
		cancel()
	}
}

// use returns the keys. release must be called when the request is done with
// them. It waits until the store has been opened.
func (r *keyring) use(ctx context.Context) (keys *keystore.Keys, release func(), err error) {
	if err := r.opening.use(ctx); err != nil {
		return nil, nil, err
	}
	return r.keys, r.leave, nil
}

// rings are the keyrings of the running configurations, for Caddy's admin socket,
// newest last.
var rings struct {
	sync.Mutex
	list []*keyring
}

func (r *keyring) enter() {
	rings.Lock()
	defer rings.Unlock()
	rings.list = append(rings.list, r)
}

func (r *keyring) exit() {
	rings.Lock()
	defer rings.Unlock()
	for i, other := range rings.list {
		if other == r {
			rings.list = append(rings.list[:i:i], rings.list[i+1:]...)
			return
		}
	}
}
