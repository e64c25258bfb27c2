package chat2response

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/keystore"
	"github.com/labiium/chat2response/store"
)

func init() {
	caddy.RegisterModule(App{})
}

// App owns what outlives a request and must not be opened while a configuration
// is only checked. Handlers bring it up by themselves; it needs no
// configuration.
type App struct {
	storage    certmagic.Storage
	needSealer bool // some handler has no seal_key of its own
	rings      map[string]*keyring
	archives   map[string]*archive
	bridges    []*bridge

	// ready is closed when Start has opened everything: apps start in no fixed
	// order, so a request may come before.
	ready  chan struct{}
	sealer *convert.Sealer
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "chat2response",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision sets up the app. It opens nothing.
func (a *App) Provision(ctx caddy.Context) error {
	a.storage = ctx.Storage()
	a.ready = make(chan struct{})
	return nil
}

// keyring is the key store of a configuration, which handlers that say the same
// share.
func (a *App) keyring(identity, name string, module store.Module, config keystore.Config) *keyring {
	if r, ok := a.rings[identity]; ok {
		return r
	}
	if a.rings == nil {
		a.rings = map[string]*keyring{}
	}
	if n := len(a.rings); n > 0 {
		name += "-" + strconv.Itoa(n+1)
	}
	r := &keyring{name: name, module: module, config: config, opening: newOpening()}
	a.rings[identity] = r
	return r
}

// Start opens what the handlers need.
func (a *App) Start() error {
	defer close(a.ready)
	for _, r := range a.rings {
		if err := r.open(context.Background()); err != nil {
			a.Stop()
			return fmt.Errorf("opening the key store %s: %w", r.name, err)
		}
		r.enter()
	}
	for _, r := range a.archives {
		if err := r.open(context.Background()); err != nil {
			a.Stop()
			return fmt.Errorf("opening the store %s of the state: %w", r.name, err)
		}
	}
	if a.needSealer {
		if err := a.openSealer(); err != nil {
			a.Stop()
			return err
		}
	}
	for _, b := range a.bridges {
		if err := b.start(); err != nil {
			a.Stop()
			return fmt.Errorf("starting the MCP servers: %w", err)
		}
	}
	return nil
}

func (a *App) openSealer() error {
	secret, err := storedSecret(context.Background(), a.storage)
	if err != nil {
		return fmt.Errorf("the key for sealing reasoning (set seal_key to keep none in storage): %w", err)
	}
	a.sealer, err = convert.NewSealer(secret)
	return err
}

// Stop gives back what Start has opened. Requests in flight still use it; the last
// of them closes it.
func (a *App) Stop() error {
	for _, r := range a.rings {
		r.exit()
		r.close()
	}
	for _, r := range a.archives {
		if caddy.Exiting() {
			r.fail()
		}
		r.close()
	}
	for _, b := range a.bridges {
		b.stop()
	}
	return nil
}

// sealerFor waits for Start and returns the sealer under the stored secret.
func (a *App) sealerFor(ctx context.Context) (*convert.Sealer, error) {
	select {
	case <-a.ready:
		return a.sealer, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// sealSecret is the name of the secret in Caddy's storage, which nodes may share.
const sealSecret = "chat2response/seal.key"

// storedSecret reads the secret, making it when there is none. The lock keeps two
// nodes from making two.
func storedSecret(ctx context.Context, storage certmagic.Storage) ([]byte, error) {
	secret, err := storage.Load(ctx, sealSecret)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	if err := storage.Lock(ctx, sealSecret); err != nil {
		return nil, err
	}
	defer storage.Unlock(ctx, sealSecret)
	secret, err = storage.Load(ctx, sealSecret)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	secret = convert.NewSecret()
	return secret, storage.Store(ctx, sealSecret, secret)
}

// Interface guards
var (
	_ caddy.App         = (*App)(nil)
	_ caddy.Provisioner = (*App)(nil)
)
