package chat2response

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// unmarshalMCP reads the mcp subdirective, whose name is the current token:
//
//	mcp [<mcp.json>] {
//	    servers         <names...>
//	    max_turns       <number>
//	    max_calls       <number>
//	    parallel        <number>
//	    max_result      <size>
//	    call_timeout    <duration>
//	    approve         <server/tool...>
//	    client_servers  <hosts...>
//	    allow_unauthenticated
//	}
//	mcp <name> <url>|<command> [<args...>] {
//	    type            http|sse
//	    header          <name> <value>
//	    env             <name> <value>
//	    env_vars        <names...>
//	    cwd             <folder>
//	    tools           <patterns...>
//	    except          <patterns...>
//	    approve         <patterns...>
//	    call_timeout    <duration>
//	    start_timeout   <duration>
//	    max_output      <size>
//	    serial
//	    required
//	}
func (h *Handler) unmarshalMCP(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if h.MCP == nil {
		h.MCP = &MCP{}
	}
	if len(args) > 1 {
		return h.MCP.server(d, args)
	}
	if len(args) == 1 {
		if h.MCP.Config != "" {
			return d.Errf("mcp names two files, %q and %q; a server of its own is 'mcp <name> <command or url>'", h.MCP.Config, args[0])
		}
		h.MCP.Config = args[0]
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := h.MCP.subdirective(d); err != nil {
			return err
		}
	}
	return nil
}

func (m *MCP) subdirective(d *caddyfile.Dispenser) error {
	name := d.Val()
	args := d.RemainingArgs()
	lists := map[string]*[]string{"servers": &m.Only, "approve": &m.Approve, "client_servers": &m.ClientServers}
	if list, ok := lists[name]; ok {
		if len(args) == 0 {
			return d.ArgErr()
		}
		*list = append(*list, args...)
		return nil
	}
	if name == "allow_unauthenticated" {
		if len(args) > 0 {
			return d.ArgErr()
		}
		m.AllowUnauthenticated = true
		return nil
	}
	numbers := map[string]*int{"max_turns": &m.MaxTurns, "max_calls": &m.MaxCalls, "parallel": &m.Parallel}
	number, isNumber := numbers[name]
	if !isNumber && name != "max_result" && name != "call_timeout" {
		return d.Errf("unrecognized mcp subdirective '%s'", name)
	}
	if len(args) != 1 {
		return d.ArgErr()
	}
	var err error
	switch name {
	case "max_result":
		m.MaxResult, err = sizeOf(d, name, args[0])
	case "call_timeout":
		var t time.Duration
		t, err = durationOf(d, name, args[0])
		m.CallTimeout = caddy.Duration(t)
	default:
		if *number, err = strconv.Atoi(args[0]); err != nil || *number < 1 {
			return d.Errf("%s is %q, and must be a number from 1", name, args[0])
		}
	}
	return err
}

func sizeOf(d *caddyfile.Dispenser, name, arg string) (int, error) {
	size, err := humanize.ParseBytes(arg)
	if err != nil || size == 0 || size > 1<<30 {
		return 0, d.Errf("%s is %q, and must be a size such as 64KiB", name, arg)
	}
	return int(size), nil
}

func durationOf(d *caddyfile.Dispenser, name, arg string) (time.Duration, error) {
	t, err := caddy.ParseDuration(arg)
	if err != nil || t <= 0 {
		return 0, d.Errf("%s is %q, and must be a duration such as 30s", name, arg)
	}
	return t, nil
}

// server reads one server and its block into the members that an mcp.json has.
func (m *MCP) server(d *caddyfile.Dispenser, args []string) error {
	name, target := args[0], args[1]
	if _, twice := m.Servers[name]; twice {
		return d.Errf("mcp server %q is there twice", name)
	}
	s := map[string]any{}
	if strings.HasPrefix(target, "http://") || strings.HasPrefix(target, "https://") {
		if len(args) > 2 {
			return d.ArgErr()
		}
		s["url"] = target
	} else {
		s["command"] = target
		if len(args) > 2 {
			s["args"] = args[2:]
		}
	}
	pairs := map[string]map[string]string{"env": {}, "headers": {}}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		args := d.RemainingArgs()
		switch option {
		case "env", "header":
			if len(args) != 2 {
				return d.ArgErr()
			}
			pairs[map[string]string{"env": "env", "header": "headers"}[option]][args[0]] = args[1]
		case "tools", "except", "approve", "env_vars":
			if len(args) == 0 {
				return d.ArgErr()
			}
			member := map[string]string{"tools": "enabled_tools", "except": "disabled_tools"}[option]
			if member == "" {
				member = option
			}
			list, _ := s[member].([]string)
			s[member] = append(list, args...)
		case "serial", "required":
			if len(args) != 0 {
				return d.ArgErr()
			}
			s[option] = true
		case "type", "cwd", "call_timeout", "start_timeout", "max_output":
			if len(args) != 1 {
				return d.ArgErr()
			}
			var err error
			switch option {
			case "max_output":
				s[option], err = sizeOf(d, option, args[0])
			case "call_timeout", "start_timeout":
				var t time.Duration
				t, err = durationOf(d, option, args[0])
				s[map[string]string{"call_timeout": "tool_timeout_sec", "start_timeout": "startup_timeout_sec"}[option]] = t.Seconds()
			default:
				s[option] = args[0]
			}
			if err != nil {
				return err
			}
		default:
			return d.Errf("unrecognized subdirective '%s' of an mcp server", option)
		}
	}
	for member, values := range pairs {
		if len(values) > 0 {
			s[member] = values
		}
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if m.Servers == nil {
		m.Servers = map[string]json.RawMessage{}
	}
	m.Servers[name] = raw
	return nil
}
