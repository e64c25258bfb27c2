package chat2response

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/dustin/go-humanize"

	"github.com/labiium/chat2response/convert"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("chat2response", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("chat2response", httpcaddyfile.Before, "reverse_proxy")
}

func parseCaddyfile(helper httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h := new(Handler)
	proxies, err := h.unmarshal(helper.Dispenser)
	if err != nil {
		return nil, err
	}
	// The routes of handle_response need the whole Caddyfile.
	for u, proxy := range proxies {
		if err := proxy.FinalizeUnmarshalCaddyfile(helper); err != nil {
			return nil, err
		}
		u.HandleRaw = caddyconfig.JSONModuleObject(proxy, "handler", "reverse_proxy", nil)
	}
	return h, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	chat2response [<matcher>] [<upstreams...>] {
//	    to       <upstreams...>
//	    mode     responses|chat
//	    api_key  <key>
//	    alias    <model> <upstream_model>
//	    dialect  <name>
//	    <any subdirective of reverse_proxy>
//
//	    upstream <models...> {
//	        <all of the above>
//	    }
//
//	    strict
//	    max_body         <size>
//	    max_bodies       <size>
//	    convert          open|keys|off
//	    status           open|keys|off
//	    reasoning_events summary|text|off
//	    hosted_tools     refuse|drop
//	    seal_key         <secret>
//	    keep_alive       <duration>|off
//	    allow_anonymous
//
//	    keys memory|bbolt [<path>]|redis <url>|off {
//	        store { <settings of the store> }
//	        default_ttl      <duration>|none
//	        allow_no_expiration
//	        admin_token      <token>
//	        insecure_admin
//	        no_endpoints
//	        passthrough
//	        cache_ttl        <duration>|off
//	        stale_on_error   <duration>
//	        purge_after      <duration>|never
//	    }
//
//	    state [upstream|unsealed|local] [memory|bbolt [<path>]|redis <url>]|off {
//	        store { <settings of the store> }
//	        ttl              <duration>
//	        conversation_ttl <duration>|never
//	        max_response     <size>
//	        max_chain        <size>
//	        max_bytes        <size>
//	        max_records      <number>
//	        max_background   <number>
//	        max_keyless_bytes   <size>
//	        max_keyless_records <number>
//	        key              <secret>
//	        chat_completions
//	    }
//
//	    mcp [<mcp.json>] { <settings of the tools> }
//	    mcp <name> <url>|<command> [<args...>] { <settings of the server> }
//	}
//
// An upstream is host:port or a URL. A URL's path is where the API is; without
// one it is at /v1. The upstream of the main block serves the models that no
// upstream block names.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	proxies, err := h.unmarshal(d)
	for u, proxy := range proxies {
		u.HandleRaw = caddyconfig.JSONModuleObject(proxy, "handler", "reverse_proxy", nil)
	}
	return err
}

// unmarshal reads the directive. The proxies that it returns are not yet in
// their upstreams.
func (h *Handler) unmarshal(d *caddyfile.Dispenser) (map[*Upstream]*reverseproxy.Handler, error) {
	d.Next() // the directive's name
	main := newUpstreamParser(d.Token())
	for _, t := range remaining(d) {
		main.used = true
		to, err := main.address(t)
		if err != nil {
			return nil, err
		}
		main.to = append(main.to, to)
	}
	blocks := []*upstreamParser{}
	for d.NextBlock(0) {
		if d.Val() == "upstream" {
			b := newUpstreamParser(d.Token())
			b.u.Models = d.RemainingArgs()
			if len(b.u.Models) == 0 {
				return nil, d.Err("upstream needs the models that it serves; * is all")
			}
			for d.NextBlock(1) {
				if err := b.subdirective(d); err != nil {
					return nil, err
				}
			}
			blocks = append(blocks, b)
			continue
		}
		ok, err := h.subdirective(d)
		if err != nil {
			return nil, err
		}
		if !ok {
			if err := main.subdirective(d); err != nil {
				return nil, err
			}
		}
	}
	if len(blocks) == 0 || main.used {
		blocks = append(blocks, main)
	}
	proxies := map[*Upstream]*reverseproxy.Handler{}
	for _, b := range blocks {
		proxy, err := b.proxy()
		if err != nil {
			return nil, err
		}
		if proxy != nil {
			proxies[b.u] = proxy
		}
		h.Upstreams = append(h.Upstreams, b.u)
	}
	return proxies, nil
}

// subdirective reads one of the handler's own. It tells whether it was one.
func (h *Handler) subdirective(d *caddyfile.Dispenser) (bool, error) {
	var arg string
	name := d.Val()
	switch name {
	case "strict", "allow_anonymous":
		if d.NextArg() {
			return true, d.ArgErr()
		}
		h.Strict = h.Strict || name == "strict"
		h.AllowAnonymous = h.AllowAnonymous || name == "allow_anonymous"
		return true, nil
	case "keys":
		return true, h.unmarshalKeys(d)
	case "state":
		return true, h.unmarshalState(d)
	case "mcp":
		return true, h.unmarshalMCP(d)
	case "max_body", "max_bodies", "reasoning_events", "hosted_tools", "seal_key", "keep_alive", "convert", "status":
		if !d.AllArgs(&arg) {
			return true, d.ArgErr()
		}
	default:
		return false, nil
	}
	switch name {
	case "max_body", "max_bodies":
		size, err := humanize.ParseBytes(arg)
		if err != nil || size == 0 || size > 1<<40 {
			return true, d.Errf("%s is %q, and must be a size such as 32MiB", name, arg)
		}
		if name == "max_body" {
			h.MaxBody = int64(size)
		} else {
			h.MaxBodies = int64(size)
		}
	case "reasoning_events":
		h.ReasoningEvents = arg
		return true, oneOf(d, name, arg, "summary", "text", "off")
	case "hosted_tools":
		h.HostedTools = arg
		return true, oneOf(d, name, arg, "refuse", "drop")
	case "convert":
		h.Convert = arg
		return true, oneOf(d, name, arg, accessWords...)
	case "status":
		h.Status = arg
		return true, oneOf(d, name, arg, accessWords...)
	case "seal_key":
		h.SealKey = arg
	case "keep_alive":
		if arg == "off" {
			h.KeepAlive = -1
			return true, nil
		}
		every, err := caddy.ParseDuration(arg)
		if err != nil || every <= 0 {
			return true, d.Errf("keep_alive is %q, and must be a duration such as 15s, or off", arg)
		}
		h.KeepAlive = caddy.Duration(every)
	}
	return true, nil
}

func oneOf(d *caddyfile.Dispenser, name, value string, values ...string) error {
	if slices.Contains(values, value) {
		return nil
	}
	last := len(values) - 1
	return d.Errf("%s is %q, and must be %s or %s", name, value, strings.Join(values[:last], ", "), values[last])
}

// upstreamParser gathers what an upstream's block says: what is ours, and the
// tokens that are for reverse_proxy.
type upstreamParser struct {
	u     *Upstream
	used  bool
	base  string // of the addresses so far
	start caddyfile.Token
	to    []caddyfile.Token // addresses on the directive's line
	rest  []caddyfile.Token // the block for reverse_proxy
}

// remaining are the rest of the line's tokens.
func remaining(d *caddyfile.Dispenser) []caddyfile.Token {
	var tokens []caddyfile.Token
	for d.NextArg() {
		tokens = append(tokens, d.Token())
	}
	return tokens
}

func newUpstreamParser(start caddyfile.Token) *upstreamParser {
	return &upstreamParser{u: &Upstream{}, start: start}
}

func (p *upstreamParser) subdirective(d *caddyfile.Dispenser) error {
	p.used = true
	var arg string
	name := d.Val()
	switch name {
	case "to":
		line := d.NextSegment() // reverse_proxy has it too, but without paths
		if len(line) == 1 {
			return d.ArgErr()
		}
		for i, t := range line[1:] {
			var err error
			if line[i+1], err = p.address(t); err != nil {
				return err
			}
		}
		p.rest = append(p.rest, line...)
		return nil
	case "alias":
		var to string
		if !d.AllArgs(&arg, &to) {
			return d.ArgErr()
		}
		if _, twice := p.u.Aliases[arg]; twice {
			return d.Errf("alias %q is there twice", arg)
		}
		if p.u.Aliases == nil {
			p.u.Aliases = map[string]string{}
		}
		p.u.Aliases[arg] = to
		return nil
	case "mode", "api_key", "dialect":
		if !d.AllArgs(&arg) {
			return d.ArgErr()
		}
	default:
		p.rest = append(p.rest, d.NextSegment()...)
		return nil
	}
	switch name {
	case "mode":
		p.u.Mode = convert.API(arg)
		return oneOf(d, name, arg, string(convert.Responses), string(convert.Chat))
	case "api_key":
		p.u.APIKey = arg
	case "dialect":
		if convert.Dialects[arg] == nil {
			return d.Errf("dialect is %q, and must be one of %s", arg, strings.Join(convert.DialectNames(), ", "))
		}
		p.u.Dialect = arg
	}
	return nil
}

// passiveFailure is how long one of several upstreams is left alone after a
// failure, where the configuration does not say.
const passiveFailure = 10 * time.Second

// proxy makes the reverse_proxy of the upstream, or nil where it names none.
func (p *upstreamParser) proxy() (*reverseproxy.Handler, error) {
	if len(p.to) == 0 && len(p.rest) == 0 {
		return nil, nil
	}
	tokens := append([]caddyfile.Token{p.start}, p.to...)
	tokens[0].Text = "reverse_proxy"
	if len(p.rest) > 0 {
		open, shut := p.start, p.rest[len(p.rest)-1]
		open.Text, shut.Text = "{", "}"
		shut.Line++
		tokens = append(append(append(tokens, open), p.rest...), shut)
	}
	proxy := new(reverseproxy.Handler)
	if err := proxy.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)); err != nil {
		return nil, err
	}
	// With several upstreams, one that is down should not be seen.
	if len(proxy.Upstreams) > 1 && proxy.LoadBalancing == nil && proxy.HealthChecks == nil {
		proxy.LoadBalancing = &reverseproxy.LoadBalancing{Retries: len(proxy.Upstreams) - 1}
		proxy.HealthChecks = &reverseproxy.HealthChecks{Passive: &reverseproxy.PassiveHealthChecks{FailDuration: caddy.Duration(passiveFailure)}}
	}
	return proxy, nil
}

// address takes the path off an upstream's address, as reverse_proxy takes none.
// All of a group have the same.
func (p *upstreamParser) address(t caddyfile.Token) (caddyfile.Token, error) {
	if strings.Contains(t.Text, "{") { // a placeholder
		return t, nil
	}
	base := defaultBase
	if scheme, _, isURL := strings.Cut(t.Text, "://"); isURL {
		u, err := url.Parse(t.Text)
		if err != nil {
			return t, parseError(t, "the upstream's address cannot be read: %v", err)
		}
		if u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return t, parseError(t, "an upstream's address has no user, query or fragment")
		}
		if u.Path != "" {
			base = "/" + strings.Trim(u.Path, "/")
		}
		t.Text = scheme + "://" + u.Host
	}
	if p.base != "" && p.base != base {
		return t, parseError(t, "upstreams of one group have different paths, %q and %q", p.base, base)
	}
	if p.base = base; base != defaultBase {
		p.u.BasePath = &base
	}
	return t, nil
}

func parseError(t caddyfile.Token, format string, args ...any) error {
	d := caddyfile.NewDispenser([]caddyfile.Token{t})
	d.Next()
	return d.Errf(format, args...)
}
