package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
)

// Namespace is where Caddy finds stores: http.chat2response.stores.memory, .bbolt, .redis and whatever others add.
const Namespace = "http.chat2response.stores"

// Module is a guest module of [Namespace]: the configuration of a store. Provisioning it opens nothing, so that
// `caddy validate` beside a running server takes no lock and dials nobody; the app opens it when it starts.
type Module interface {
	caddy.Module

	// Open returns a share of the store that the configuration describes. Configurations that describe the same
	// store (same file, same Redis) share one, across reloads too: the new configuration joins before the old one
	// leaves. Each share is closed by its own Close. What was written with one share is read with the others.
	Open(ctx context.Context) (Store, error)
}

// pool holds what is open in this process. Its values are *memory, *boltDB and *redisDB.
var pool = caddy.NewUsagePool()

// share joins the resource called key, or opens it. The release returned works once, however often it is called:
// a second UsagePool.Delete would take away somebody else's reference.
func share[T caddy.Destructor](key string, open func() (T, error)) (T, func() error, error) {
	v, _, err := pool.LoadOrNew(key, func() (caddy.Destructor, error) { return open() })
	if err != nil {
		var none T
		return none, nil, err
	}
	release := sync.OnceValue(func() error {
		_, err := pool.Delete(key)
		return err
	})
	return v.(T), release, nil
}

// log is the logger of things that outlive a configuration. It is asked for each time, because a configuration's
// own logger ends with it.
func log(name string) *zap.Logger { return caddy.Log().Named("chat2response.store." + name) }

// worker runs the goroutines that an open store owns, and ends them.
type worker struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newWorker() *worker {
	ctx, cancel := context.WithCancel(context.Background())
	return &worker{ctx: ctx, cancel: cancel}
}

func (w *worker) every(d time.Duration, f func()) {
	w.wg.Go(func() {
		t := time.NewTicker(d)
		defer t.Stop()
		for {
			select {
			case <-w.ctx.Done():
				return
			case <-t.C:
				f()
			}
		}
	})
}

func (w *worker) stop() {
	w.cancel()
	w.wg.Wait()
}

// fill replaces placeholders such as {env.X} and {file./run/secrets/x}; one that is unset or empty is an error, not
// an empty password.
func fill(field string, s *string) error {
	filled, err := caddy.NewReplacer().ReplaceOrErr(*s, true, true)
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	*s = filled
	return nil
}

// setting is one line of a store's Caddyfile block: its name, and what to do with its one argument.
type setting map[string]func(value string) error

// parseBlock reads "name [arg]" and the block after it. first gets the argument on the first line; nil allows none.
func parseBlock(d *caddyfile.Dispenser, first func(string) error, settings setting) error {
	d.Next()
	name := d.Val()
	if d.NextArg() {
		if first == nil {
			return d.ArgErr()
		}
		if err := first(d.Val()); err != nil {
			return d.WrapErr(err)
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		set, ok := settings[d.Val()]
		if !ok {
			return d.Errf("%s: unknown setting %q; there are: %s", name, d.Val(), strings.Join(slices.Sorted(maps.Keys(settings)), ", "))
		}
		var value string
		if !d.AllArgs(&value) {
			return d.ArgErr()
		}
		if err := set(value); err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}

func setString(to *string) func(string) error {
	return func(v string) error { *to = v; return nil }
}

func setInt(to *int) func(string) error {
	return func(v string) (err error) {
		*to, err = strconv.Atoi(v)
		return err
	}
}
