package mcpbridge

import (
	"context"
	"crypto/tls"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"go.uber.org/zap"
)

// Protocols are the protocol versions that can be spoken, newest first.
func Protocols() []string { return slices.Clone(mcp.ValidProtocolVersions) }

// dialer is what a connection needs besides the server's configuration.
type dialer struct {
	env     func(string) (string, bool)
	log     func() *zap.Logger
	version string // of the gateway, told to servers
	// guard, if set, dials in place of the operating system: for servers that a client has named.
	guard   func(ctx context.Context, network, address string) (net.Conn, error)
	tls     *tls.Config // nil but in tests
	maxBody int64
	limits  toolLimits
}

// conn is one connection to one server, ready for use. It is never used again after its end: mcp-go's client is not
// made for a second handshake while it is in use.
type conn struct {
	client   *client.Client
	tap      *tap
	proc     *process // nil without a child
	protocol string
	server   string          // the server's name and version, as it says
	changed  chan struct{}   // the server's list of tools is no longer what it was
	lost     chan struct{}   // closed when the connection has ended
	peer     *peer           // nil over streamable HTTP
	web      *webClient      // only there
	unlisten func()          // ends the stream of notifications of MCP 2026-07-28
	names    map[string]bool // of all tools that it has listed; for the goroutine that keeps the connection
	large    int             // tools of the last list that were left out because of their size
}

// dial connects to a server and agrees with it on a protocol.
//
// The handshake of MCP 2025-11-25 comes first, that of 2026-07-28 when it is refused. mcp-go 1.2.1 by itself tries
// 2026-07-28 first: it then waits five seconds for servers that ignore what they do not know, ends those that crash on
// it, and takes the official Go SDK's default server for one that speaks 2026-07-28, which then refuses every request.
// Where the type is not configured and HTTP is refused altogether, the transport of 2024-11-05 is tried, as MCP
// 2025-11-25, basic/transports, "Backwards Compatibility" says.
func dial(ctx context.Context, s *ServerConfig, d *dialer) (*conn, error) {
	versions := []string{mcp.LATEST_LEGACY_PROTOCOL_VERSION, mcp.LATEST_PROTOCOL_VERSION}
	if s.Protocol != "" {
		versions = []string{s.Protocol}
	}
	kind := s.kind()
	if kind == "sse" {
		versions = versions[:1] // there was no SSE in 2026-07-28
	}
	var first error
	for _, v := range versions {
		c, err := attempt(ctx, s, d, kind, v)
		if err == nil {
			return c, nil
		}
		if first == nil {
			first = err // that of the likelier protocol
		}
		if !refusal(err) {
			return nil, first
		}
	}
	var status *HTTPError
	if s.Type == "" && kind == "http" && errors.As(first, &status) {
		if c, err := attempt(ctx, s, d, "sse", mcp.LATEST_LEGACY_PROTOCOL_VERSION); err == nil {
			return c, nil
		}
	}
	return nil, first
}

// refusal reports whether the server is there and does not like the protocol.
func refusal(err error) bool {
	var rpc *RPCError
	var status *HTTPError
	var version mcp.UnsupportedProtocolVersionError
	switch {
	case errors.As(err, &rpc):
		return slices.Contains([]int{mcp.UNSUPPORTED_PROTOCOL_VERSION, mcp.METHOD_NOT_FOUND, mcp.INVALID_PARAMS, mcp.INVALID_REQUEST}, rpc.Code)
	case errors.As(err, &status):
		return isRefusal(status.Status)
	}
	return errors.As(err, &version)
}

func attempt(ctx context.Context, s *ServerConfig, d *dialer, kind, version string) (*conn, error) {
	c := &conn{changed: make(chan struct{}, 1), lost: make(chan struct{}), unlisten: func() {}}
	t, err := c.transport(s, d, kind)
	if err != nil {
		return nil, err
	}
	c.tap.limits, c.tap.maxError = d.limits, s.maxOutput()
	c.client = client.NewClient(t, client.WithProtocolVersion(version), client.WithDiscoverTimeout(-1)) // ctx is bound
	c.client.OnNotification(func(n mcp.JSONRPCNotification) {
		if n.Method != mcp.MethodNotificationToolsListChanged {
			return
		}
		select { // this is the goroutine that reads: it must not wait
		case c.changed <- struct{}{}:
		default:
		}
	})
	// The connection lives until close, not until ctx ends.
	if err := c.client.Start(context.Background()); err != nil {
		c.close()
		return nil, err
	}
	n := new(note)
	ctx = context.WithValue(ctx, noteKey{}, n)
	hello, err := c.client.Initialize(ctx, mcp.InitializeRequest{Params: mcp.InitializeParams{
		ProtocolVersion: version,
		ClientInfo:      mcp.Implementation{Name: "chat2response", Version: orElse(d.version, "dev")},
	}})
	if err != nil {
		err = c.explain(ctx, err, n)
		c.close()
		return nil, err
	}
	c.protocol = hello.ProtocolVersion
	c.server = brief(described(strings.TrimSpace(brief(hello.ServerInfo.Name, maxSaid)+" "+brief(hello.ServerInfo.Version, maxSaid))), maxSaid)
	if mcp.IsModernProtocol(c.protocol) {
		// Without this, a server of 2026-07-28 says nothing when its tools change. One that does not know it is asked
		// again every few minutes anyway.
		stop, err := c.client.ListenAsync(context.Background(), mcp.SubscriptionFilter{ToolsListChanged: true}, nil)
		if err == nil {
			c.unlisten = stop
		}
	}
	return c, nil
}

// transport makes what mcp-go sends and receives with.
func (c *conn) transport(s *ServerConfig, d *dialer, kind string) (transport.Interface, error) {
	switch kind {
	case "stdio":
		p, err := startProcess(s, environ(s, d.env), redactor(s, d.env), d.log)
		if err != nil {
			return nil, err
		}
		c.proc = p
		return c.over(newStdio(p, d.log)), nil
	case "sse":
		carrier, err := newEvents(newWebClient(s, d), s.URL)
		if err != nil {
			return nil, err
		}
		return c.over(carrier), nil
	}
	web := newWebClient(s, d)
	h, err := transport.NewStreamableHTTP(s.URL, transport.WithHTTPBasicClient(&web.Client), transport.WithHTTPLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, err
	}
	h.SetRequestHandler(make(refuser, maxReplies).refuse)
	c.web = web
	c.tap = newTap(h)
	return &webTap{c.tap, h}, nil
}

func (c *conn) over(carrier carrier) *tap {
	c.peer = newPeer(carrier)
	c.lost = c.peer.done
	c.tap = newTap(c.peer)
	return c.tap
}

// why is the reason of the connection's end, nil if it is not known here.
func (c *conn) why() error {
	if c.peer == nil {
		return nil
	}
	c.peer.mu.Lock()
	defer c.peer.mu.Unlock()
	return c.peer.err
}

// close ends the connection and the child. It returns when nothing of it runs any more.
func (c *conn) close() {
	c.unlisten()
	c.tap.close()
	if c.web != nil {
		c.web.close() // after the DELETE that ends the session
	}
}

// retire ends a connection that is replaced, but not under the calls that still use it: they end first, or now does.
func (c *conn) retire(now <-chan struct{}) {
	c.unlisten()
	select {
	case <-c.tap.drain():
	case <-now:
	}
	c.close()
}

// tools lists the server's tools, as it sent them.
func (c *conn) tools(ctx context.Context) ([]jsontext.Value, error) {
	n := new(note)
	ctx = context.WithValue(ctx, noteKey{}, n)
	kept, err := c.client.ListTools(ctx, mcp.ListToolsRequest{})
	if err != nil {
		if n.err != nil && n.err.Code == mcp.METHOD_NOT_FOUND {
			return nil, nil // a server without tools need not know the method
		}
		return nil, c.explain(ctx, err, n)
	}
	// mcp-go leaves out tools that MCP 2026-07-28 forbids to offer (SEP-2243).
	names := make(map[string]bool, len(kept.Tools))
	if c.names == nil {
		c.names = map[string]bool{}
	}
	for _, t := range kept.Tools {
		names[t.Name], c.names[t.Name] = true, true
	}
	if len(c.names) > maxDifferent {
		return nil, fmt.Errorf("has listed more than %d different tools", maxDifferent)
	}
	c.large = n.large
	return slices.DeleteFunc(n.tools, func(raw jsontext.Value) bool { return !names[nameOf(raw)] }), nil
}

// call runs a tool and returns its result as sent. arguments must be a JSON object.
func (c *conn) call(ctx context.Context, tool string, arguments jsontext.Value) (jsontext.Value, error) {
	n := new(note)
	ctx = context.WithValue(ctx, noteKey{}, n)
	rq := mcp.CallToolRequest{Params: mcp.CallToolParams{Name: tool, Arguments: stdjson.RawMessage(arguments)}}
	if _, err := c.client.CallTool(ctx, rq); err != nil {
		err = c.explain(ctx, err, n)
		if errors.Is(err, errGone) {
			return nil, fmt.Errorf("%w: %w", ErrLost, err)
		}
		return nil, err
	}
	if code := int(n.status.Load()); code != 0 && code/100 != 2 {
		return nil, &HTTPError{code} // mcp-go takes any JSON in an error's body for an answer
	}
	return n.result, nil
}

// explain makes one of our errors of what mcp-go returns.
func (c *conn) explain(ctx context.Context, err error, n *note) error {
	var status *HTTPError
	code := int(n.status.Load())
	var outer *transport.Error
	if errors.As(err, &outer) {
		err = outer.Err // it says no more than "transport error"
	}
	err = withoutURL(err)
	switch {
	case errors.Is(err, transport.ErrSessionTerminated),
		// Older servers say so with 400 and words.
		n.err != nil && code == 400 && c.initialized() && strings.Contains(strings.ToLower(n.err.Message), "session"):
		return fmt.Errorf("%w: %w", errSession, &HTTPError{code})
	case n.err != nil:
		return n.err
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return ErrTimeout
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errNotSent):
		return c.ended(err)
	case unsent(err):
		return fmt.Errorf("%w: %w", errNotSent, err)
	case errors.As(err, &status):
		return status
	case code != 0 && code/100 != 2:
		return &HTTPError{code}
	case n.result != nil: // mcp-go could not do what the result asks for
		return &RPCError{mcp.INTERNAL_ERROR, "the tool asks for input from a person, which a gateway cannot give"}
	case errors.Is(err, errGone):
		return c.ended(err)
	case c.peer == nil:
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return err
}

func (c *conn) initialized() bool { return c.protocol != "" }

// ended adds to an error what the child said last.
func (c *conn) ended(err error) error {
	if c.proc == nil {
		return err
	}
	if words := c.proc.epitaph(); words != "" && !strings.Contains(err.Error(), words) {
		return fmt.Errorf("%w (%s)", err, words)
	}
	return err
}
