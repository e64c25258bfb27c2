package mcpbridge

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// What a server may do that a client has named.
const (
	maxRemotes       = 4  // servers of one request
	maxRemotesInAll  = 64 // connections
	maxRemotesOfOne  = 16 // connections of one owner: nobody takes all of them
	maxRemoteTools   = 128
	maxRemoteList    = 256 << 10 // bytes of definitions
	maxRemoteBody    = 4 << 20
	maxRemoteHeaders = 16
	maxRemoteHeader  = 4 << 10 // bytes of all
	remoteStart      = 20 * time.Second
	remoteCall       = time.Minute
	remoteIdle       = time.Minute // a connection that nobody uses is kept so long
)

// Remote is an MCP server that a client names in its request. The gateway connects only to hosts of
// [Options.ClientHosts], by https, at addresses on the open Internet, follows no redirect and asks no proxy.
type Remote struct {
	// Label is the client's name for it, the prefix of its tools' names.
	Label string
	// URL of a streamable HTTP or SSE server.
	URL string
	// Authorization is an access token, sent as "Authorization: Bearer …".
	Authorization string
	// Headers are further headers: 16 and 4 KiB at most.
	Headers map[string]string
	// Tools are the names of those to offer, by the server's own names. nil means all.
	Tools []string
	// ReadOnly offers only tools that claim to change nothing.
	ReadOnly bool
}

// remotes are the connections to servers that clients have named. Those of one owner, to one URL with one set of
// headers, are shared between requests.
type remotes struct {
	bridge *Bridge
	mu     sync.Mutex
	open   map[[sha256.Size]byte]*remote
	ended  bool
	ending sync.WaitGroup // connections that gave way to others

	allowed func(netip.Addr) bool
	tls     *tls.Config
}

type remote struct {
	*Server
	owner string
	users int
	timer *time.Timer // runs while nobody uses it
	idle  time.Time   // since when
}

func newRemotes(b *Bridge) remotes {
	allowed := b.options.ClientAddresses
	if allowed == nil {
		allowed = isPublic
	}
	return remotes{bridge: b, open: map[[sha256.Size]byte]*remote{}, allowed: allowed, tls: b.options.ClientTLS}
}

// check refuses what the rules forbid, and makes the server's configuration.
func (rs *remotes) check(r Remote) (ServerConfig, error) {
	cfg := ServerConfig{Name: r.Label, URL: r.URL, StartTimeout: remoteStart, CallTimeout: remoteCall, Headers: map[string]string{}}
	fail := func(format string, args ...any) (ServerConfig, error) {
		return cfg, &RemoteError{r.Label, true, fmt.Errorf(format, args...)}
	}
	u, err := url.Parse(r.URL)
	switch {
	case len(rs.bridge.options.ClientHosts) == 0:
		return fail("servers that a client names are switched off here")
	case r.Label == "" || clean(r.Label) != r.Label || len(r.Label) > 48:
		return fail("server_label must be 1 to 48 letters, digits, _ and -")
	case slices.ContainsFunc(rs.bridge.names, func(n string) bool { return strings.EqualFold(clean(n), r.Label) }):
		return fail("server_label is the name of one of the gateway's own servers")
	case err != nil || u.Host == "" || u.User != nil:
		return fail("server_url is no URL of a server")
	case u.Scheme != "https":
		return fail("server_url must begin with https://")
	case !hostAllowed(rs.bridge.options.ClientHosts, u.Hostname(), u.Port()):
		return fail("the host of server_url is not allowed here")
	case len(r.Headers) > maxRemoteHeaders:
		return fail("at most %d headers are allowed", maxRemoteHeaders)
	}
	size := len(r.Authorization)
	for k, v := range r.Headers {
		canonical := http.CanonicalHeaderKey(k)
		if canonical == "Host" || canonical == "Cookie" || strings.HasPrefix(canonical, "Proxy-") || strings.HasPrefix(canonical, "Mcp-") ||
			strings.HasPrefix(canonical, "Content-") || canonical == "Forwarded" || strings.HasPrefix(canonical, "X-Forwarded-") {
			return fail("the header %q is not allowed", k)
		}
		if canonical == "Authorization" && r.Authorization != "" {
			return fail("has both authorization and the header Authorization")
		}
		size += len(k) + len(v)
		cfg.Headers[canonical] = v
	}
	if size > maxRemoteHeader {
		return fail("its headers are larger than %d bytes", maxRemoteHeader)
	}
	if r.Authorization != "" {
		cfg.Headers["Authorization"] = "Bearer " + r.Authorization
	}
	if err := cfg.Check(); err != nil {
		return fail("its headers are not allowed") // the reason could repeat a token
	}
	return cfg, nil
}

// use connects, or finds a connection, and returns the tools asked for. release must be called.
func (rs *remotes) use(ctx context.Context, owner string, r Remote) (s *Server, tools []Tool, release func(), err error) {
	cfg, err := rs.check(r)
	if err != nil {
		return nil, nil, nil, err
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%q %s", owner, cfg.Key()))
	one, err := rs.take(key, owner, cfg)
	if err != nil {
		return nil, nil, nil, &RemoteError{r.Label, false, err}
	}
	failed := func(err error) (*Server, []Tool, func(), error) {
		rs.drop(key, one)
		return nil, nil, nil, &RemoteError{r.Label, errors.Is(err, errNotPublic), err}
	}
	if err := one.settle(ctx); err != nil {
		return failed(err)
	}
	offered := one.offered()
	all := make([]string, len(offered))
	for i, d := range offered {
		all[i] = d.name
	}
	wanted := make(map[string]bool, min(len(r.Tools), maxRemoteTools))
	for _, name := range r.Tools {
		wanted[name] = true
	}
	names := exposed(r.Label, append([]string{r.Label}, rs.bridge.names...), all)
	for _, d := range offered {
		if r.Tools != nil && !wanted[d.name] || r.ReadOnly && !d.readOnly {
			continue
		}
		tools = append(tools, Tool{Name: names[d.name], Server: r.Label, Original: d.name, Description: d.description,
			Schema: d.schema, Parameters: d.parameters, ReadOnly: d.readOnly, Remote: true})
	}
	var once sync.Once
	return one.Server, tools, func() { once.Do(func() { rs.give(key, one) }) }, nil
}

// take counts a user of a connection, which it opens if there is none.
func (rs *remotes) take(key [sha256.Size]byte, owner string, cfg ServerConfig) (*remote, error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.ended {
		return nil, ErrClosed
	}
	one := rs.open[key]
	if one == nil {
		if err := rs.room(owner); err != nil {
			return nil, err
		}
		d := *rs.bridge.dialer
		d.guard, d.tls, d.maxBody = guard(rs.allowed), rs.tls, maxRemoteBody
		d.limits = toolLimits{maxRemoteTools, maxRemoteList} // looked at with each list that comes, before any work on it
		one = &remote{owner: owner, Server: newServer(cfg, &rs.bridge.options, &d).start()}
		rs.open[key] = one
	}
	if one.timer != nil {
		one.timer.Stop()
		one.timer = nil
	}
	one.users++
	return one, nil
}

// room makes room for one more connection of owner. Where there is none, the connection gives way that nobody has used
// for the longest time: of the owner's own, if it is the owner that has too many.
func (rs *remotes) room(owner string) error {
	mine := 0
	for _, one := range rs.open {
		if one.owner == owner {
			mine++
		}
	}
	if mine < maxRemotesOfOne && len(rs.open) < maxRemotesInAll {
		return nil
	}
	var oldest *remote
	var at [sha256.Size]byte
	for key, one := range rs.open {
		if one.users == 0 && one.timer != nil && (mine < maxRemotesOfOne || one.owner == owner) &&
			(oldest == nil || one.idle.Before(oldest.idle)) {
			oldest, at = one, key
		}
	}
	switch {
	case oldest != nil:
		oldest.timer.Stop()
		delete(rs.open, at)
		rs.ending.Go(func() { _ = oldest.Destruct() })
		return nil
	case mine >= maxRemotesOfOne:
		return fmt.Errorf("%d servers of this client are connected already", maxRemotesOfOne)
	}
	return fmt.Errorf("%d servers are connected already", maxRemotesInAll)
}

// give ends a use. The last one starts the clock.
func (rs *remotes) give(key [sha256.Size]byte, one *remote) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if one.users--; one.users > 0 || rs.ended || rs.open[key] != one {
		return
	}
	one.idle = time.Now()
	one.timer = time.AfterFunc(remoteIdle, func() {
		rs.mu.Lock()
		unused := one.users == 0 && rs.open[key] == one
		if unused {
			delete(rs.open, key)
		}
		rs.mu.Unlock()
		if unused {
			_ = one.Destruct()
		}
	})
}

// drop forgets a connection that is of no use, so that the next request tries anew.
func (rs *remotes) drop(key [sha256.Size]byte, one *remote) {
	rs.mu.Lock()
	one.users--
	last := rs.open[key] == one && one.users == 0
	if last {
		delete(rs.open, key)
	}
	rs.mu.Unlock()
	if last {
		_ = one.Destruct()
	}
}

// stop ends all connections.
func (rs *remotes) stop() error {
	rs.mu.Lock()
	rs.ended = true
	all := rs.open
	rs.open = map[[sha256.Size]byte]*remote{}
	for _, one := range all {
		if one.timer != nil {
			one.timer.Stop()
		}
	}
	rs.mu.Unlock()
	var wg sync.WaitGroup
	for _, one := range all {
		wg.Go(func() { _ = one.Destruct() })
	}
	wg.Wait()
	rs.ending.Wait()
	return nil
}
