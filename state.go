package chat2response

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"go.uber.org/zap"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/history"
	"github.com/labiium/chat2response/store"
)

// State says what the gateway remembers for its clients, where, and for how long:
// responses, conversations and chat completions. Each belongs to the client whose
// request made it.
type State struct {
	// The store that holds it: `memory`, `bbolt` or `redis`, or another module of
	// the namespace. Default: the store of the keys, if there are keys and they are
	// not in memory; else memory, which forgets all at the end of the process.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=http.chat2response.stores inline_key=backend"`

	// Remember nothing, and refuse requests that need it. Default: false.
	Off bool `json:"off,omitempty"`

	// Who keeps the responses and conversations of upstreams that speak Responses.
	// `upstream`: the upstream, whose ids each client gets sealed, so that no other
	// can use them. `unsealed`: the upstream, and its ids go as they are. `local`:
	// this gateway, for servers that know no previous_response_id. Default:
	// `upstream` where clients have keys of this gateway, and so share an account of
	// the upstream's, else `unsealed`.
	Responses string `json:"responses,omitempty"`

	// Keep chat completions whose request says `store: true`, of Chat upstreams too.
	// All requests of Chat clients are read then. Default: false.
	ChatCompletions bool `json:"chat_completions,omitempty"`

	// How long a response is kept after it was made or last continued, and a chat
	// completion after it was made. Default: 720h; in memory 24h.
	TTL caddy.Duration `json:"ttl,omitempty"`

	// How long a conversation is kept after it was last used. Negative: until it is
	// deleted. Default: 720h; in memory 24h.
	ConversationTTL caddy.Duration `json:"conversation_ttl,omitempty"`

	// The largest response in bytes of JSON, with the request's own input. Larger
	// ones are answered, but not kept. At most 16777216. Default: 4194304 (4 MiB).
	MaxResponse int64 `json:"max_response,omitempty"`

	// The largest chain of responses, or conversation, in bytes of JSON. A longer one
	// is not continued. At most 268435456. Default: 8388608 (8 MiB).
	MaxChain int64 `json:"max_chain,omitempty"`

	// How many bytes of JSON one client can have kept; its oldest give way to its
	// new ones. Default: 268435456 (256 MiB); in memory 67108864 (64 MiB).
	MaxBytes int64 `json:"max_bytes,omitempty"`

	// How many responses, conversations and chat completions one client can have
	// kept, in the same manner. Default: 10000.
	MaxRecords int `json:"max_records,omitempty"`

	// How many bytes all clients without a key of this gateway can have kept together,
	// but for those on its own machine that show no key at all. Who has nothing gets
	// nothing more when it is used up; nobody is pushed out. Default: max_bytes.
	MaxKeylessBytes int64 `json:"max_keyless_bytes,omitempty"`

	// The same for responses, conversations and chat completions. Default: max_records.
	MaxKeylessRecords int `json:"max_keyless_records,omitempty"`

	// How many background responses of one client may run at one time in this process;
	// more are answered 429. Default: 32.
	MaxBackground int `json:"max_background,omitempty"`

	// Secrets of at least 16 bytes under which everything is encrypted: the first
	// encrypts, all decrypt, so that one can be replaced. Placeholders {env.*} and
	// {file.*} are replaced. Default: the variable CHAT2RESPONSE_STATE_KEY, or the
	// file that CHAT2RESPONSE_STATE_KEY_FILE names; without any, it is kept as it is.
	Keys []string `json:"keys,omitempty"`

	archive *archive
}

const (
	memoryTTL            = 24 * time.Hour
	memoryMaxBytes       = 64 << 20
	memoryName           = "state"
	defaultMaxBackground = 32
	stateKeyVar          = "CHAT2RESPONSE_STATE_KEY"
)

// on tells whether anything is remembered.
func (s *State) on() bool { return s != nil && !s.Off }

// local tells whether the gateway keeps what an upstream of an API answers.
func (s *State) local(api convert.API) bool {
	return s.on() && (api == convert.Chat || s.Responses == "local")
}

// provision sets up the state. keys is the store of the keys, nil where there is
// none that would do.
func (s *State) provision(ctx caddy.Context, app *App, keys json.RawMessage) error {
	if s.Off {
		return nil
	}
	if s.StoreRaw == nil {
		if s.StoreRaw = keys; keys == nil {
			s.StoreRaw = caddyconfig.JSONModuleObject(store.Memory{}, "backend", "memory", nil)
		}
	}
	var backend struct {
		Backend string `json:"backend"`
		Name    string `json:"name"`
	}
	if err := json.Unmarshal(s.StoreRaw, &backend); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if backend.Backend == "memory" {
		if backend.Name == "" { // a store of its own: it may become full
			var settings map[string]any
			if err := json.Unmarshal(s.StoreRaw, &settings); err != nil {
				return fmt.Errorf("store: %w", err)
			}
			settings["name"] = memoryName
			s.StoreRaw = caddyconfig.JSON(settings, nil)
		}
		byDefault(&s.TTL, caddy.Duration(memoryTTL))
		byDefault(&s.ConversationTTL, caddy.Duration(memoryTTL))
		byDefault(&s.MaxBytes, memoryMaxBytes)
	}
	secrets, err := s.secrets()
	if err != nil {
		return err
	}
	identity, err := json.Marshal(s)
	if err != nil {
		return err
	}
	mod, err := ctx.LoadModule(s, "StoreRaw")
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	module, ok := mod.(store.Module)
	if !ok {
		return fmt.Errorf("store %q is not a store", backend.Backend)
	}
	config := history.Config{
		TTL: time.Duration(s.TTL), ConversationTTL: time.Duration(s.ConversationTTL),
		MaxResponse: s.MaxResponse, MaxChain: s.MaxChain, MaxBytes: s.MaxBytes, MaxRecords: s.MaxRecords,
		MaxKeylessBytes: s.MaxKeylessBytes, MaxKeylessRecords: s.MaxKeylessRecords, Keys: secrets,
	}
	if _, err := history.New(nil, config); err != nil { // it opens nothing, and knows what is possible
		return err
	}
	s.archive = app.archive(string(identity), backend.Backend, module, config, ctx.Logger().Named("state"))
	return nil
}

// maxBackground is how many background responses of one client may run.
func (s *State) maxBackground() int {
	if s.MaxBackground == 0 {
		return defaultMaxBackground
	}
	return s.MaxBackground
}

func (s *State) validate() error {
	if s.MaxBackground < 0 {
		return fmt.Errorf("max_background is %d, and must be a number from 1", s.MaxBackground)
	}
	if s.Responses != "" && !slices.Contains(stateWords, s.Responses) {
		return fmt.Errorf("responses is %q, and must be upstream, unsealed or local", s.Responses)
	}
	return nil
}

func byDefault[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// secrets are the keys for what is kept. A key's name in the store comes from the
// key itself, so that keys can be added and removed in any order.
func (s *State) secrets() ([]history.Key, error) {
	given := s.Keys
	if len(given) == 0 {
		switch file := os.Getenv(stateKeyVar + "_FILE"); {
		case os.Getenv(stateKeyVar) != "":
			given = []string{"{env." + stateKeyVar + "}"}
		case file != "":
			given = []string{"{file." + file + "}"}
		}
	}
	var keys []history.Key
	names := map[byte]bool{}
	for _, secret := range given {
		secret, err := caddy.NewReplacer().ReplaceOrErr(secret, true, true)
		if err != nil {
			return nil, fmt.Errorf("key: %w", err)
		}
		if secret = strings.TrimSpace(secret); len(secret) < 16 {
			return nil, fmt.Errorf("key has %d bytes; it needs 16 or more, and should be random (openssl rand -hex 32)", len(secret))
		}
		name := sha256.Sum256([]byte("chat2response state key " + secret))
		if names[name[0]] {
			return nil, errors.New("key: two keys are the same, or look the same in the store (1 of 256 does by chance): choose another")
		}
		names[name[0]] = true
		keys = append(keys, history.Key{ID: name[0], Secret: []byte(secret)})
	}
	return keys, nil
}

// stateStore is the store of the keys, where it would do for the state too.
func (k *Keys) stateStore() json.RawMessage {
	var backend struct {
		Backend string `json:"backend"`
	}
	switch {
	case k == nil:
		return nil
	case k.StoreRaw == nil:
		return caddyconfig.JSONModuleObject(store.Bbolt{}, "backend", "bbolt", nil)
	case json.Unmarshal(k.StoreRaw, &backend) != nil || backend.Backend == "memory":
		return nil
	}
	return append(json.RawMessage(nil), k.StoreRaw...)
}

// archive is an open store of what is remembered. Handlers with the same
// configuration share one.
type archive struct {
	*opening
	name    string
	module  store.Module
	config  history.Config
	log     *zap.Logger
	history *history.History

	mu   sync.Mutex
	busy map[string]bool       // conversations that are being continued
	jobs map[*history.Job]bool // background responses that run
	runs map[string]int        // how many, or about to, by owner
}

// archive is that of a configuration.
func (a *App) archive(identity, name string, module store.Module, config history.Config, log *zap.Logger) *archive {
	if r, ok := a.archives[identity]; ok {
		return r
	}
	if a.archives == nil {
		a.archives = map[string]*archive{}
	}
	r := &archive{opening: newOpening(), name: name, module: module, config: config, log: log, busy: map[string]bool{}, jobs: map[*history.Job]bool{}, runs: map[string]int{}}
	a.archives[identity] = r
	return r
}

// roomForKeys is how many bytes of its disk the state leaves free.
const roomForKeys = 16 << 20

// open opens the store. It is called once, when the app starts.
func (r *archive) open(ctx context.Context) error {
	s, err := r.module.Open(ctx)
	if err != nil {
		return r.opened(err, nil)
	}
	if roomy, ok := s.(store.Roomy); ok { // keys may be in the same file: one must be revocable on a disk that clients have filled
		s = roomy.KeepFree(roomForKeys)
	}
	if r.history, err = history.New(s, r.config); err != nil {
		s.Close()
		return r.opened(err, nil)
	}
	stateTotals.add(r.history)
	return r.opened(nil, func() {
		stateTotals.remove(r.history)
		if err := s.Close(); err != nil {
			r.log.Error("closing the store of the state", zap.Error(err))
		}
	})
}

// engage marks a conversation as being continued; release ends that, however often
// it is called. It fails while another request is at it: of two answers only one
// could be appended.
func (r *archive) engage(owner, conversation string) (release func(), ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := owner + "\x00" + conversation
	if r.busy[name] {
		return nil, false
	}
	r.busy[name] = true
	return sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.busy, name)
	}), true
}

func (r *archive) track(job *history.Job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.jobs[job] = true
}

// enlist takes one of the most places that an owner has for background responses; dismiss gives it back.
func (r *archive) enlist(owner string, most int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.runs[owner] >= most {
		return false
	}
	r.runs[owner]++
	return true
}

func (r *archive) dismiss(owner string, job *history.Job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.jobs, job)
	if r.runs[owner]--; r.runs[owner] == 0 {
		delete(r.runs, owner)
	}
}

// fail ends the background responses that run, as failed: the process ends.
func (r *archive) fail() {
	r.mu.Lock()
	var wg sync.WaitGroup
	for job := range r.jobs {
		wg.Go(job.Close)
	}
	r.mu.Unlock()
	wg.Wait()
}

// bearer is what a client without a key of the gateway is known by: all that it
// authenticates itself with.
func bearer(header http.Header) string {
	var tokens []string
	for _, name := range []string{"Authorization", "X-Api-Key", "Api-Key"} {
		for _, value := range header.Values(name) {
			if scheme, rest, _ := strings.Cut(value, " "); strings.EqualFold(scheme, "Bearer") {
				value = strings.TrimSpace(rest)
			}
			if value != "" && !slices.Contains(tokens, value) {
				tokens = append(tokens, value)
			}
		}
	}
	return strings.Join(tokens, "\n")
}

// tenant is the part of the history that is the client's: that of its key, or of
// whatever token it has sent. owner names it in this process.
func (x *exchange) tenant(h *history.History) (tenant history.Tenant, owner string, err error) {
	if x.key != nil {
		owner = x.key.Owner()
		return h.Tenant(owner), "key " + owner, nil
	}
	token := bearer(x.r.Header)
	tenant, err = h.Keyless(x.r.Context(), token)
	return tenant, "token " + token, err
}
