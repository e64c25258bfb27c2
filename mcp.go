package chat2response

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/labiium/chat2response/mcpbridge"
)

// MCP names the servers of the Model Context Protocol whose tools are offered to
// the upstream's model, and run here when it calls them.
type MCP struct {
	// A file in the form of an mcp.json, as desktop programs have it.
	Config string `json:"config,omitempty"`

	// Further servers by name, each with the members that an mcp.json has for it:
	// `command`, `args`, `env`; or `url`, `headers`; `enabled_tools`,
	// `disabled_tools`, `approve`, `tool_timeout_sec`, `startup_timeout_sec`,
	// `max_output`, `serial`, `required`, … Placeholders {env.*} and {file.*} in them
	// are replaced, and an unset one is an error.
	Servers map[string]json.RawMessage `json:"servers,omitempty"`

	// The names of the servers whose tools this handler offers. Default: all.
	Only []string `json:"only,omitempty"`

	// How often the model is asked for one answer at most; the last time it may call
	// no tools. Default: 8.
	MaxTurns int `json:"max_turns,omitempty"`

	// How many calls are run for one answer at most; those above are answered with
	// an error that the model reads. Default: 32, or less if the client's
	// max_tool_calls says so.
	MaxCalls int `json:"max_calls,omitempty"`

	// How many calls of one answer run at the same time. Default: 8.
	Parallel int `json:"parallel,omitempty"`

	// The most text in bytes that one result has; the rest is cut, and the model is
	// told how much. Default, and at most: the server's `max_output`, 64 KiB.
	MaxResult int `json:"max_result,omitempty"`

	// How long one call may take. Default, and at most: the server's
	// `tool_timeout_sec`, 60s.
	CallTimeout caddy.Duration `json:"call_timeout,omitempty"`

	// Tools that the client must agree to, call by call, as patterns
	// `<server>/<tool>` in which * stands for any characters. Responses clients get
	// an mcp_approval_request; to Chat clients, who cannot be asked, they are not
	// offered. Default: none.
	Approve []string `json:"approve,omitempty"`

	// Hosts of servers that clients may name themselves, as tools of type mcp for an
	// upstream that has none: `mcp.example.com`, `*.example.com`, `host:8443`.
	// Default: none, and such tools are refused.
	ClientServers []string `json:"client_servers,omitempty"`

	// Offer the tools to whoever reaches the site, where clients need no key of this
	// gateway. Default: only to programs on the gateway's own machine.
	AllowUnauthenticated bool `json:"allow_unauthenticated,omitempty"`

	logger *zap.Logger
	bridge *bridge
}

func (m *MCP) provision(ctx caddy.Context, app *App) error {
	m.logger = ctx.Logger().Named("mcp")
	config := new(mcpbridge.Config)
	if m.Config != "" {
		file, err := caddy.NewReplacer().ReplaceOrErr(m.Config, true, true)
		if err != nil {
			return fmt.Errorf("config: %w", err)
		}
		if config, err = mcpbridge.Load(file, nil); err != nil {
			return err
		}
	}
	if len(m.Servers) > 0 {
		all := map[string]any{}
		for name, raw := range m.Servers {
			var members any
			if err := json.Unmarshal(raw, &members); err != nil {
				return fmt.Errorf("server %q: %w", name, err)
			}
			filled, err := fill(members)
			if err != nil {
				return fmt.Errorf("server %q: %w", name, err)
			}
			all[name] = filled
		}
		data, err := json.Marshal(map[string]any{"mcpServers": all})
		if err != nil {
			return err
		}
		inline, err := mcpbridge.Parse("servers", data, nil)
		if err != nil {
			return err
		}
		config.Servers = append(config.Servers, inline.Servers...)
		config.Notes = append(config.Notes, inline.Notes...)
		slices.SortFunc(config.Servers, func(a, b mcpbridge.ServerConfig) int { return strings.Compare(a.Name, b.Name) })
	}
	for _, name := range m.Only {
		if !slices.ContainsFunc(config.Servers, func(s mcpbridge.ServerConfig) bool { return s.Name == name }) {
			return fmt.Errorf("only: there is no server %q", name)
		}
	}
	for _, pattern := range m.Approve {
		if !strings.Contains(pattern, "/") {
			return fmt.Errorf("approve is %q, and must be <server>/<tool>, where * stands for any characters", pattern)
		}
	}
	if len(config.Servers) == 0 && len(m.ClientServers) == 0 {
		return fmt.Errorf("there are no servers: name a config, servers, or client_servers")
	}
	options := mcpbridge.Options{Log: m.logger, Version: version(), Share: shareServer, ClientHosts: m.ClientServers}
	if trust != nil {
		trust(&options)
	}
	b, err := mcpbridge.New(config, options)
	if err != nil {
		return err
	}
	m.bridge = &bridge{Bridge: b}
	for _, s := range config.Servers {
		m.bridge.names = append(m.bridge.names, s.Name)
	}
	app.bridges = append(app.bridges, m.bridge)
	return nil
}

// fill replaces the placeholders {env.*} and {file.*} in the texts of decoded JSON.
// What they stand for is taken as it is: a ${ in it is no variable.
func fill(v any) (_ any, err error) {
	switch v := v.(type) {
	case string:
		text, err := caddy.NewReplacer().ReplaceOrErr(v, true, true)
		if err == nil && text != v {
			text = strings.ReplaceAll(text, "${", "$${")
		}
		return text, err
	case []any:
		for i := range v {
			if v[i], err = fill(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for name := range v {
			if v[name], err = fill(v[name]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// trust is nil but in tests, whose servers of clients are on this machine.
var trust func(*mcpbridge.Options)

func (m *MCP) validate() error {
	for name, n := range map[string]int{"max_turns": m.MaxTurns, "max_calls": m.MaxCalls, "parallel": m.Parallel, "max_result": m.MaxResult, "call_timeout": int(m.CallTimeout)} {
		if n < 0 {
			return fmt.Errorf("%s must not be negative", name)
		}
	}
	return nil
}

// servers are the running MCP servers of all configurations. One that a reload
// leaves unchanged goes on, with its child and its sessions.
var servers = caddy.NewUsagePool()

// serverKey keeps the pool's keys apart from those of other types.
type serverKey string

func shareServer(key string, open func() *mcpbridge.Server) (*mcpbridge.Server, func() error) {
	v, _, _ := servers.LoadOrNew(serverKey(key), func() (caddy.Destructor, error) { return open(), nil })
	return v.(*mcpbridge.Server), func() error {
		_, err := servers.Delete(serverKey(key))
		return err
	}
}

// bridge is the MCP servers of one handler, in the app that starts them.
type bridge struct {
	*mcpbridge.Bridge
	names   []string // of its servers, running or not
	started bool
}

func (b *bridge) start() error {
	if err := b.Start(context.Background()); err != nil {
		return err
	}
	b.started = true
	bridges.Lock()
	defer bridges.Unlock()
	bridges.list = append(bridges.list, b)
	return nil
}

// drain is how long calls that run may take after their configuration has ended.
const drain = 30 * time.Second

// stop gives the servers up. A reload does not wait for the answers that still use
// them; the process, when it ends, waits for their children.
func (b *bridge) stop() {
	if !b.started {
		return
	}
	bridges.Lock()
	bridges.list = slices.DeleteFunc(bridges.list, func(other *bridge) bool { return other == b })
	bridges.Unlock()
	if caddy.Exiting() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = b.Stop(ctx) // its only error is that of ctx: the servers have ended all the same
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), drain)
		defer cancel()
		_ = b.Stop(ctx)
	}()
}

// bridges are those of the running configurations, for Caddy's admin socket.
var bridges struct {
	sync.Mutex
	list []*bridge
}

// mcpScope opens the gateway's tools to a key: all of them; mcp:read those that
// claim to change nothing; mcp:<server> or mcp:<server>/<pattern> some.
const mcpScope = "mcp"

// inScope tells whether a key's scopes open a tool. A key without any scope may use
// all, one that has some needs one for the tools among them.
func inScope(scopes []string, t *mcpbridge.Tool) bool {
	if len(scopes) == 0 {
		return true
	}
	for _, scope := range scopes {
		rest, limited := strings.CutPrefix(scope, mcpScope+":")
		switch {
		case scope == mcpScope,
			limited && rest == "read" && t.ReadOnly,
			limited && rest != "read" && rest == t.Server,
			limited && strings.Contains(rest, "/") && matches(rest, t.Server+"/"+t.Original):
			return true
		}
	}
	return false
}

// approval tells whether the client must agree to each call of a tool.
func (m *MCP) approval(t *mcpbridge.Tool) bool {
	return t.Approve || slices.ContainsFunc(m.Approve, func(p string) bool { return matches(p, t.Server+"/"+t.Original) })
}

// mayUse tells whether the client may use the gateway's tools at all: one with a
// key of the gateway, or, where no keys are asked for, one on this machine.
func (x *exchange) mayUse() bool {
	m := x.h.MCP
	if m == nil {
		return false
	}
	return x.key != nil || m.AllowUnauthenticated || isLocal(x.r)
}
