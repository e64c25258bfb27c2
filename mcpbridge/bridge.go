// Package mcpbridge runs MCP servers and calls their tools for a gateway. It knows the Model Context Protocol, and
// nothing of the protocols that models speak except what a function's name and schema may look like.
//
// A [Bridge] holds the servers of an mcp.json. Each client request opens a [Session]: a list of tools that does not
// change under it, and the calls that the model makes of them. No failure of a server is a failure of the session; it
// is a result that the model reads.
package mcpbridge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Options are what a [Bridge] needs besides its servers. The zero value is usable.
type Options struct {
	// Log gets what the servers print on stderr and what becomes of them. Default: nothing is logged.
	Log *zap.Logger
	// Version is the gateway's, which servers are told.
	Version string
	// Env looks up variables that children get. Default: the process's environment.
	Env func(string) (string, bool)
	// Share finds the running server for key, or opens one; release gives it up. It is how servers survive a reload.
	// With a caddy.UsagePool:
	//
	//	v, _, _ := pool.LoadOrNew(key, func() (caddy.Destructor, error) { return open(), nil })
	//	return v.(*mcpbridge.Server), func() error { _, err := pool.Delete(key); return err }
	//
	// Default: every Bridge has its own servers.
	Share func(key string, open func() *Server) (s *Server, release func() error)
	// Refresh is how often tools are listed again unasked. Default: [DefaultRefresh].
	Refresh time.Duration
	// Backoff is the pause after so many failures to connect, 1 the first. Default: 1 s doubling to a minute, ±20 %.
	Backoff func(failures int) time.Duration
	// ClientHosts are the hosts of servers that a client may name ([Request.Remote]): "mcp.example.com",
	// "*.example.com" (not example.com itself), "host:8443". Default: none, and every [Remote] is refused.
	ClientHosts []string
	// ClientAddresses reports whether the server of a client may be at an address that its host resolves to. Default:
	// only where it is somebody's on the open Internet.
	ClientAddresses func(netip.Addr) bool
	// ClientTLS says which certificates of these servers are believed. Default: those of the system's authorities.
	ClientTLS *tls.Config
}

// Bridge is a set of MCP servers. Its methods may be called at once from many goroutines.
type Bridge struct {
	config  *Config
	options Options
	dialer  *dialer
	names   []string // of all servers configured

	mu       sync.Mutex
	running  []running // in the order of config
	started  bool
	stopped  bool
	sessions int
	idle     chan struct{} // closed when stopped and the last session is gone
	remotes  remotes
}

// running is a server in one bridge: shared, while the rest of its configuration is the bridge's own.
type running struct {
	*Server
	cfg     *ServerConfig
	release func() error
	named   *atomic.Pointer[named]
}

// named are a server's tools under their names for the model, made once for each list that the server sends.
type named struct {
	of    *definition // the first of the list
	tools []Tool
}

// New checks the configuration. It opens nothing, so it may be called where nothing must run.
func New(c *Config, o Options) (*Bridge, error) {
	if o.Env == nil {
		o.Env = os.LookupEnv
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	b := &Bridge{config: c, options: o, idle: make(chan struct{})}
	b.dialer = &dialer{env: o.Env, version: o.Version, maxBody: maxBody}
	b.remotes = newRemotes(b)
	for i := range c.Servers {
		s := &c.Servers[i]
		if err := s.Check(); err != nil {
			return nil, err
		}
		if slices.Contains(b.names, s.Name) {
			return nil, fmt.Errorf("server %q: is configured twice", s.Name)
		}
		b.names = append(b.names, s.Name)
	}
	for _, h := range o.ClientHosts {
		if err := checkPattern(h); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Start begins to connect all servers, and returns without waiting for them. Only for those that are
// [ServerConfig.Required] it waits: if one of them cannot be connected, or ctx ends before, it stops all and fails.
func (b *Bridge) Start(ctx context.Context) error {
	b.mu.Lock()
	if b.started || b.stopped {
		b.mu.Unlock()
		return errors.New("the MCP bridge was started before")
	}
	b.started = true
	for _, n := range b.config.Notes {
		b.options.Log.Info(n)
	}
	for i := range b.config.Servers {
		cfg := &b.config.Servers[i]
		open := func() *Server { return newServer(*cfg, &b.options, b.dialer).start() }
		r := running{cfg: cfg, named: new(atomic.Pointer[named])}
		if b.options.Share != nil {
			r.Server, r.release = b.options.Share(cfg.Key(), open)
			r.setLog(b.options.Log)
		} else {
			r.Server = open()
			r.release = r.Destruct
		}
		b.running = append(b.running, r)
	}
	all := b.running
	b.mu.Unlock()

	for _, r := range all {
		if !r.cfg.Required {
			continue
		}
		if err := r.settle(ctx); err != nil {
			_ = b.Stop(ctx)
			return fmt.Errorf("MCP server %q is required: %s", r.cfg.Name, r.redact(err))
		}
	}
	return nil
}

// Settle waits until every server is connected or has failed to once, or until ctx ends. Nothing needs it but what
// wants to see all tools at once, as a test does or a command that lists them.
func (b *Bridge) Settle(ctx context.Context) error {
	for _, r := range b.servers() {
		_ = r.settle(ctx)
	}
	return ctx.Err()
}

// Stop takes no new sessions, waits for those that are open until ctx ends, then gives up the servers: those that
// nobody shares end with their children before it returns. That can take four seconds more than the wait, so a reload
// is better served by a goroutine that calls it.
func (b *Bridge) Stop(ctx context.Context) error {
	b.mu.Lock()
	first := !b.stopped
	b.stopped = true
	if first && b.sessions == 0 {
		close(b.idle)
	}
	all := b.running
	b.running = nil
	b.mu.Unlock()
	if !first {
		return nil
	}
	select {
	case <-b.idle:
	case <-ctx.Done():
	}
	failed := make([]error, len(all)+1)
	var wg sync.WaitGroup
	for i, r := range all {
		wg.Go(func() { failed[i] = r.release() })
	}
	wg.Go(func() { failed[len(all)] = b.remotes.stop() })
	wg.Wait()
	return errors.Join(failed...)
}

// servers are those that run.
func (b *Bridge) servers() []running {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.running
}

// Status tells each configured server's condition, in the order of their names. Servers that clients have named are
// not among them.
func (b *Bridge) Status() []Status {
	all := b.servers()
	list := make([]Status, 0, len(all))
	for _, r := range all {
		st := r.status()
		st.Tools = []string{}
		for _, t := range b.toolsOf(r) {
			st.Tools = append(st.Tools, t.Name)
		}
		list = append(list, st)
	}
	slices.SortFunc(list, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// toolsOf are the tools that the configuration lets a server offer, under their names for the model. They must not be
// changed.
func (b *Bridge) toolsOf(r running) []Tool {
	offered := r.offered()
	if len(offered) == 0 {
		return nil
	}
	if n := r.named.Load(); n != nil && n.of == &offered[0] {
		return n.tools
	}
	all := make([]string, len(offered))
	for i, d := range offered {
		all[i] = d.name
	}
	names := exposed(r.cfg.Name, b.names, all)
	var tools []Tool
	for _, d := range offered {
		if r.cfg.offers(d.name) {
			tools = append(tools, Tool{Name: names[d.name], Server: r.cfg.Name, Original: d.name, Description: d.description,
				Schema: d.schema, Parameters: d.parameters, ReadOnly: d.readOnly, Approve: matches(r.cfg.Approve, d.name)})
		}
	}
	r.named.Store(&named{&offered[0], tools})
	return tools
}

// enter counts a session; leave is its end.
func (b *Bridge) enter() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.started || b.stopped {
		return false
	}
	b.sessions++
	return true
}

func (b *Bridge) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sessions--; b.sessions == 0 && b.stopped {
		close(b.idle)
	}
}
