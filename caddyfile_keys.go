package chat2response

import (
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/labiium/chat2response/store"
)

// unmarshalKeys reads the keys subdirective, whose name is the current token.
func (h *Handler) unmarshalKeys(d *caddyfile.Dispenser) error {
	if h.Keys != nil {
		return d.Err("keys is there twice")
	}
	name := d.Token()
	args := remaining(d)
	if len(args) == 0 {
		return d.Err("keys needs a store: memory, bbolt [<path>], redis <url>, or off")
	}
	if args[0].Text == "off" {
		if len(args) > 1 {
			return d.ArgErr()
		}
		return nil
	}
	k := &Keys{}
	settings, err := storeSettings(d, k.subdirective)
	if err != nil {
		return err
	}
	module, err := parseStore(d, name, args, settings)
	if err != nil {
		return err
	}
	k.StoreRaw = module
	h.Keys = k
	return nil
}

// storeSettings reads a block whose subdirectives are others' but for store, whose own
// block it returns.
func storeSettings(d *caddyfile.Dispenser, other func(*caddyfile.Dispenser) error) (settings []caddyfile.Token, err error) {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "store" {
			if err := other(d); err != nil {
				return nil, err
			}
			continue
		}
		if d.NextArg() {
			return nil, d.ArgErr()
		}
		for inner := d.Nesting(); d.NextBlock(inner); {
			settings = append(settings, d.NextSegment()...)
		}
	}
	return settings, nil
}

// parseStore makes the store's module of its line and of its own settings.
func parseStore(d *caddyfile.Dispenser, start caddyfile.Token, args, settings []caddyfile.Token) ([]byte, error) {
	backend := args[0].Text
	tokens := append([]caddyfile.Token{}, args...)
	if len(settings) > 0 {
		open, shut := start, settings[len(settings)-1]
		open.Text, shut.Text = "{", "}"
		shut.Line++
		tokens = append(append(append(tokens, open), settings...), shut)
	}
	info, err := caddy.GetModule(store.Namespace + "." + backend)
	if err != nil {
		return nil, d.Errf("%s: there is no store %q; there are memory, bbolt and redis", start.Text, backend)
	}
	module := info.New()
	unmarshaler, ok := module.(caddyfile.Unmarshaler)
	if !ok {
		return nil, d.Errf("%s: store %q cannot be configured in a Caddyfile", start.Text, backend)
	}
	if err := unmarshaler.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)); err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(module, "backend", backend, nil), nil
}

func (k *Keys) subdirective(d *caddyfile.Dispenser) error {
	name := d.Val()
	flags := map[string]*bool{
		"allow_no_expiration": &k.AllowNoExpiration,
		"insecure_admin":      &k.InsecureAdmin,
		"no_endpoints":        &k.NoEndpoints,
		"passthrough":         &k.Passthrough,
	}
	if flag, ok := flags[name]; ok {
		if d.NextArg() {
			return d.ArgErr()
		}
		*flag = true
		return nil
	}
	var arg string
	if !d.AllArgs(&arg) {
		return d.ArgErr()
	}
	if name == "admin_token" {
		k.AdminTokens = append(k.AdminTokens, arg)
		return nil
	}
	durations := map[string]struct {
		to  *caddy.Duration
		off string // the word for a negative duration
	}{
		"default_ttl":    {&k.DefaultTTL, "none"},
		"cache_ttl":      {&k.CacheTTL, "off"},
		"stale_on_error": {&k.StaleOnError, ""},
		"purge_after":    {&k.PurgeAfter, "never"},
	}
	option, ok := durations[name]
	if !ok {
		return d.Errf("unrecognized keys subdirective '%s'", name)
	}
	if option.off != "" && arg == option.off {
		*option.to = -1
		return nil
	}
	v, err := caddy.ParseDuration(arg)
	if err != nil || v < time.Second {
		return d.Errf("%s is %q, and must be a duration of at least a second", name, arg)
	}
	*option.to = caddy.Duration(v)
	return nil
}
