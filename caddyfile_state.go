package chat2response

import (
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// stateWords say who keeps the responses of a Responses upstream.
var stateWords = []string{"upstream", "unsealed", "local"}

// unmarshalState reads the state subdirective, whose name is the current token.
func (h *Handler) unmarshalState(d *caddyfile.Dispenser) error {
	if h.State != nil {
		return d.Err("state is there twice")
	}
	s := &State{}
	h.State = s
	name := d.Token()
	args := remaining(d)
	if len(args) > 0 && slices.Contains(stateWords, args[0].Text) {
		s.Responses = args[0].Text
		args = args[1:]
	} else if len(args) > 0 && args[0].Text == "off" {
		s.Off = true
		if len(args) > 1 || d.NextBlock(d.Nesting()) {
			return d.Err("state off has no settings")
		}
		return nil
	}
	settings, err := storeSettings(d, s.subdirective)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		if len(settings) > 0 {
			return d.Err("state has settings of a store, and no store: name it, as in state memory")
		}
		return nil
	}
	s.StoreRaw, err = parseStore(d, name, args, settings)
	return err
}

func (s *State) subdirective(d *caddyfile.Dispenser) error {
	name := d.Val()
	if name == "chat_completions" {
		s.ChatCompletions = true
		if d.NextArg() {
			return d.ArgErr()
		}
		return nil
	}
	var arg string
	if !d.AllArgs(&arg) {
		return d.ArgErr()
	}
	sizes := map[string]*int64{"max_response": &s.MaxResponse, "max_chain": &s.MaxChain, "max_bytes": &s.MaxBytes, "max_keyless_bytes": &s.MaxKeylessBytes}
	if to, ok := sizes[name]; ok {
		size, err := humanize.ParseBytes(arg)
		if err != nil || size == 0 || size > 1<<40 {
			return d.Errf("%s is %q, and must be a size such as 4MiB", name, arg)
		}
		*to = int64(size)
		return nil
	}
	switch name {
	case "key":
		s.Keys = append(s.Keys, arg)
		return nil
	case "max_records", "max_keyless_records", "max_background":
		n, err := strconv.Atoi(arg)
		if err != nil || n < 1 {
			return d.Errf("%s is %q, and must be a number from 1", name, arg)
		}
		*map[string]*int{
			"max_records": &s.MaxRecords, "max_keyless_records": &s.MaxKeylessRecords, "max_background": &s.MaxBackground,
		}[name] = n
		return nil
	case "ttl", "conversation_ttl":
	default:
		return d.Errf("unrecognized state subdirective '%s'", name)
	}
	if name == "conversation_ttl" && arg == "never" {
		s.ConversationTTL = -1
		return nil
	}
	v, err := caddy.ParseDuration(arg)
	if err != nil || v < time.Second {
		return d.Errf("%s is %q, and must be a duration of at least a second", name, arg)
	}
	if name == "ttl" {
		s.TTL = caddy.Duration(v)
	} else {
		s.ConversationTTL = caddy.Duration(v)
	}
	return nil
}
