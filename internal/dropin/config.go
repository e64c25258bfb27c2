package dropin

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/keystore"
	"github.com/labiium/chat2response/store"
)

// Config is what has been set, checked.
type Config struct {
	BaseURL string
	APIKey  string // a placeholder for it; empty in passthrough mode
	Mode    convert.API
	Dialect string
	SealKey string // a placeholder for it

	Host, Port string
	Admin      string // an address, or off
	LogLevel   string // Caddy's
	AccessLog  bool

	Proxy     string // a placeholder for its URL, none, or empty: that of the environment
	FirstByte time.Duration
	Idle      time.Duration

	CORS   *CORS // nil: none
	Keys   Store
	Policy keystore.Policy
	State  Store // Backend may be off, or empty: where the keys are
	// StateSealed says that there is a key to encrypt what is kept.
	StateSealed bool

	// MCP is the path of the mcp.json, or empty.
	MCP string
	// MCPForAll offers its tools to clients that nobody knows, on other machines.
	MCPForAll bool

	// Notes are what the operator should know.
	Notes []string
	// Needs are the variables that the Caddyfile refers to.
	Needs []string
}

// CORS is what browsers are told. A list that is nil stands for everything.
type CORS struct {
	Origins, Methods, Headers []string
	Credentials               bool
	MaxAge                    int
}

// Store is where something is kept.
type Store struct {
	Backend string // memory, bbolt or redis
	Path    string // of bbolt
	URL     string // of Redis: a placeholder
	Pool    int    // of Redis; 0: its default
	Chosen  string // what chose it, for people
}

// Check checks all values. backend is the argument of --keys-backend, mcp the path
// of the mcp.json; both may be empty. Of what is wrong everything is reported.
func (v *Values) Check(backend, mcp string) (*Config, error) {
	c := &Config{MCP: mcp}
	var failed []error
	for _, check := range []func(*Config) error{v.upstream, v.server, v.network, v.cors, v.mcp, v.policy} {
		failed = append(failed, check(c))
	}
	failed = append(failed, v.keys(c, backend), v.state(c))
	if err := errors.Join(failed...); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Config) note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

// env is the placeholder for a variable.
func (c *Config) env(name string) string {
	c.Needs = append(c.Needs, name)
	return "{env." + name + "}"
}

func (v *Values) upstream(c *Config) error {
	var failed []error
	base := v.text("OPENAI_BASE_URL")
	u, err := url.Parse(base)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", !plain(base):
		failed = append(failed, v.bad("OPENAI_BASE_URL", "a URL such as http://localhost:8000/v1"))
	case u.RawQuery != "", u.Fragment != "", u.User != nil:
		failed = append(failed, v.bad("OPENAI_BASE_URL", "a URL without user, query and fragment"))
	default:
		c.BaseURL = u.Scheme + "://" + u.Host + "/" + strings.Trim(u.Path, "/")
		if strings.Trim(u.Path, "/") == "" {
			c.note("OPENAI_BASE_URL has no path, so the upstream is asked at %sresponses and the like; most servers have their API under /v1", c.BaseURL)
		}
	}

	switch file := v.text("OPENAI_API_KEY_FILE"); {
	case v.isSet("OPENAI_API_KEY") && file != "":
		failed = append(failed, errors.New("OPENAI_API_KEY and OPENAI_API_KEY_FILE are both set: remove one"))
	case v.isSet("OPENAI_API_KEY"):
		c.APIKey = c.env("OPENAI_API_KEY")
		// Many have it set for OpenAI, and mean to start a server for a model of their own.
		if v.values["OPENAI_API_KEY"].source == "" && err == nil && nearby(u.Hostname()) {
			c.note("OPENAI_API_KEY is set, so clients need a key of this gateway, and %s is sent yours; "+
				"unset it for a server without keys", u.Host)
		}
	case file != "" && !plain(file):
		failed = append(failed, v.bad("OPENAI_API_KEY_FILE", "a path without braces, quotes and line ends"))
	case file != "":
		c.APIKey = "{file." + file + "}"
	}

	switch strings.ReplaceAll(strings.ToLower(v.text("UPSTREAM_MODE")), "_", "-") {
	case "responses":
		c.Mode = convert.Responses
	case "chat", "chat-completions":
		c.Mode = convert.Chat
	default:
		failed = append(failed, v.bad("UPSTREAM_MODE", "responses or chat"))
	}

	if v.isSet("CHAT2RESPONSE_UPSTREAM_INPUT") {
		_, err := v.yes("CHAT2RESPONSE_UPSTREAM_INPUT")
		failed = append(failed, err)
		c.note("CHAT2RESPONSE_UPSTREAM_INPUT has no effect: a Responses upstream is always sent input, with the whole conversation")
	}
	if c.Dialect = v.text("CHAT2RESPONSE_DIALECT"); convert.Dialects[c.Dialect] == nil {
		failed = append(failed, v.bad("CHAT2RESPONSE_DIALECT", "one of %s", strings.Join(convert.DialectNames(), ", ")))
	}
	if v.isSet("CHAT2RESPONSE_SEAL_KEY") {
		if _, err := convert.NewSealer([]byte(v.text("CHAT2RESPONSE_SEAL_KEY"))); err != nil {
			failed = append(failed, v.bad("CHAT2RESPONSE_SEAL_KEY", "at least 16 bytes, random ones (openssl rand -hex 32)"))
		}
		c.SealKey = c.env("CHAT2RESPONSE_SEAL_KEY")
	}
	return errors.Join(failed...)
}

// nearby reports whether a host is on this machine or in a network of one's own, by its name.
func nearby(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		ip = ip.Unmap()
		return ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsUnspecified()
	}
	i := strings.LastIndexByte(host, '.')
	return i < 0 || slices.Contains([]string{"localhost", "local", "internal", "lan"}, strings.ToLower(host[i+1:]))
}

// levels are the original's words for how much is logged, and Caddy's.
var levels = map[string]string{"error": "ERROR", "warn": "WARN", "info": "INFO", "debug": "DEBUG", "trace": "DEBUG", "off": "FATAL"}

func (v *Values) server(c *Config) error {
	var failed []error
	host, port, err := net.SplitHostPort(v.text("BIND_ADDR"))
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || !plain(host) {
		failed = append(failed, v.bad("BIND_ADDR", "an address such as 127.0.0.1:8088, [::]:8088 or :8088"))
	}
	c.Host, c.Port = host, port

	c.Admin = v.text("CHAT2RESPONSE_ADMIN_ADDR")
	if _, _, err := net.SplitHostPort(c.Admin); !plain(c.Admin) || c.Admin != "off" && !strings.HasPrefix(c.Admin, "unix/") && err != nil {
		failed = append(failed, v.bad("CHAT2RESPONSE_ADMIN_ADDR", "an address such as localhost:2019 or unix//run/chat2response/admin.sock, or off"))
	}

	// RUST_LOG may hold several, "info,tower_http=debug". Those for parts of a
	// program that is not here any more are passed over.
	c.LogLevel = "INFO"
	for _, part := range strings.Split(v.text("RUST_LOG"), ",") {
		part = strings.TrimSpace(part)
		if strings.Contains(part, "=") {
			c.note("RUST_LOG: %q has no effect: there are no parts with levels of their own", Shown(part))
			continue
		}
		level, ok := levels[strings.ToLower(part)]
		if !ok {
			failed = append(failed, v.bad("RUST_LOG", "error, warn, info, debug or off"))
			break
		}
		c.LogLevel = level
	}
	c.AccessLog, err = v.yes("CHAT2RESPONSE_ACCESS_LOG")
	return errors.Join(append(failed, err)...)
}

// defaultIdle is how long an upstream may be silent in the middle of an answer:
// models think for minutes.
const defaultIdle = 300 * time.Second

// maxSeconds bounds all times.
const maxSeconds = 7 * 24 * 3600

func (v *Values) network(c *Config) error {
	var failed []error
	for _, name := range []string{"CHAT2RESPONSE_PROXY_URL", "HTTP_PROXY", "HTTPS_PROXY"} {
		if !v.isSet(name) {
			continue
		}
		text := v.text(name)
		if !strings.Contains(text, "://") {
			text = "http://" + text
		}
		u, err := url.Parse(text)
		if err != nil || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) || u.Hostname() == "" || strings.Contains(text, "{") {
			failed = append(failed, v.bad(name, "a URL such as http://proxy.example.com:3128 (http, https, socks5 or socks5h), with special characters of a password percent-encoded"))
			continue
		}
		v.set(name, text, v.values[name].source)
	}
	none, err := v.yes("CHAT2RESPONSE_NO_PROXY")
	failed = append(failed, err)
	switch {
	case none:
		c.Proxy = "none"
	case v.isSet("CHAT2RESPONSE_PROXY_URL"):
		c.Proxy = c.env("CHAT2RESPONSE_PROXY_URL")
	}

	first, err := v.number("CHAT2RESPONSE_HTTP_TIMEOUT_SECONDS", 0, maxSeconds)
	failed = append(failed, err)
	c.FirstByte = time.Duration(first) * time.Second
	if c.FirstByte > 0 {
		c.Idle = max(defaultIdle, c.FirstByte)
	}
	if v.isSet("CHAT2RESPONSE_IDLE_TIMEOUT_SECONDS") {
		idle, err := v.number("CHAT2RESPONSE_IDLE_TIMEOUT_SECONDS", 0, maxSeconds)
		c.Idle = time.Duration(idle) * time.Second
		// A connection that waits for the first byte is idle too.
		if err == nil && idle > 0 && (first == 0 || idle < first) {
			err = v.bad("CHAT2RESPONSE_IDLE_TIMEOUT_SECONDS", "0, or not less than CHAT2RESPONSE_HTTP_TIMEOUT_SECONDS, which is %q",
				Shown(v.text("CHAT2RESPONSE_HTTP_TIMEOUT_SECONDS")))
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

var (
	token  = regexp.MustCompile("^[!#$%&'*+.^_|~0-9A-Za-z-]+$") // RFC 9110 §5.6.2, but for the backquote
	origin = regexp.MustCompile(`^[a-z][a-z0-9+.-]*://[A-Za-z0-9.\[\]:_-]+$`)
)

func (v *Values) cors(c *Config) error {
	var failed []error
	cors := &CORS{}
	list := func(name string, valid *regexp.Regexp, must string) []string {
		if v.text(name) == "*" {
			return nil
		}
		items := []string{}
		for _, item := range strings.Split(v.text(name), ",") {
			item = strings.TrimSpace(item)
			if item == "*" || !valid.MatchString(item) {
				failed = append(failed, v.bad(name, "%s", must))
				break
			}
			items = append(items, item)
		}
		return items
	}
	// Without keys, whoever can send a request is a client, and a browser sends those of every page that its user
	// visits: pages may read answers only where the operator says so.
	unset := !v.isSet("CORS_ALLOWED_ORIGINS")
	off := strings.EqualFold(v.text("CORS_ALLOWED_ORIGINS"), "off") || unset && c.APIKey == ""
	if !off && !unset {
		cors.Origins = list("CORS_ALLOWED_ORIGINS", origin, "*, off, or origins such as https://app.example.com with commas between; an origin has no path")
	}
	cors.Methods = list("CORS_ALLOWED_METHODS", token, "* or methods with commas between")
	cors.Headers = list("CORS_ALLOWED_HEADERS", token, "* or names of headers with commas between")
	var err error
	cors.Credentials, err = v.yes("CORS_ALLOW_CREDENTIALS")
	failed = append(failed, err)
	if cors.Credentials && cors.Origins == nil && (!off || unset) {
		failed = append(failed, errors.New("CORS_ALLOW_CREDENTIALS is 1 and CORS_ALLOWED_ORIGINS is * or not set, "+
			"and browsers refuse that: list the origins"))
	}
	cors.MaxAge, err = v.number("CORS_MAX_AGE", 0, 86400)
	failed = append(failed, err)
	switch {
	case !off:
		c.CORS = cors
		if !unset && cors.Origins == nil && c.APIKey == "" {
			c.note("CORS_ALLOWED_ORIGINS is *, and clients need no keys of the gateway: " +
				"any web page that someone here visits can ask the upstream")
		}
	case unset:
		for _, name := range []string{"CORS_ALLOWED_METHODS", "CORS_ALLOWED_HEADERS", "CORS_MAX_AGE"} {
			if v.isSet(name) {
				c.note("%s has no effect: web pages are allowed nothing, since clients need no keys of the gateway; "+
					"CORS_ALLOWED_ORIGINS allows them", name)
			}
		}
	}
	return errors.Join(failed...)
}

func (v *Values) mcp(c *Config) error {
	const forAll = "CHAT2RESPONSE_MCP_ALLOW_UNAUTHENTICATED"
	all, err := v.yes(forAll)
	switch {
	case err != nil:
	case c.MCP == "" && v.isSet(forAll):
		c.note("%s has no effect: there is no mcp.json", forAll)
	case !plain(c.MCP):
		err = fmt.Errorf("the path of the mcp.json, %q, must not have braces, quotes and line ends in it", c.MCP)
	case c.MCP != "" && c.APIKey == "" && !all:
		c.note("tools are offered to programs on this machine only, since clients have no keys of the gateway; set OPENAI_API_KEY for keys, or %s=1 to offer them to everyone", forAll)
	case c.MCP != "" && c.APIKey == "":
		c.MCPForAll = true
		c.note("%s: whoever reaches this address can have the tools run", forAll)
	case all:
		c.note("%s has no effect: clients need keys of the gateway", forAll)
	}
	return err
}

// maxTTL is the longest life of a key in seconds, ten years.
const maxTTL = 10 * 365 * 24 * 3600

func (v *Values) policy(c *Config) error {
	if _, err := v.number("CHAT2RESPONSE_KEYS_DEFAULT_TTL_SECONDS", 0, maxTTL); err != nil {
		return err
	}
	policy, notice, err := keystore.PolicyFromEnv(func(name string) (string, bool) {
		return Shown(v.text(name)), v.isSet(name) // it repeats what it does not understand
	})
	if notice != "" {
		c.note("%s", notice)
	}
	c.Policy = policy
	if v.isSet("CHAT2RESPONSE_ADMIN_TOKEN") && len(v.text("CHAT2RESPONSE_ADMIN_TOKEN")) < 24 {
		err = errors.Join(err, v.bad("CHAT2RESPONSE_ADMIN_TOKEN", "24 bytes or more, random ones (openssl rand -hex 32)"))
	}
	if file := v.text("CHAT2RESPONSE_ADMIN_TOKEN_FILE"); !plain(file) {
		err = errors.Join(err, v.bad("CHAT2RESPONSE_ADMIN_TOKEN_FILE", "a path without braces, quotes and line ends"))
	}
	insecure, bad := v.yes("CHAT2RESPONSE_INSECURE_ADMIN")
	if insecure {
		c.note("CHAT2RESPONSE_INSECURE_ADMIN: whoever reaches this address can make keys")
	}
	return errors.Join(err, bad)
}

// keys chooses where keys are kept: --keys-backend, else Redis if there is a URL,
// else the file; in memory where clients need no keys and no file is named.
func (v *Values) keys(c *Config, backend string) error {
	pool, err := v.number("CHAT2RESPONSE_REDIS_POOL_MAX", 1, 10000)
	if err != nil {
		return err
	}
	spec, chosen := backend, "--keys-backend"
	switch {
	case backend != "":
	case v.isSet("CHAT2RESPONSE_REDIS_URL"):
		spec, chosen = v.text("CHAT2RESPONSE_REDIS_URL"), "CHAT2RESPONSE_REDIS_URL"
		if !strings.Contains(spec, "://") {
			return v.bad(chosen, "a URL such as redis://127.0.0.1:6379/")
		}
	case !v.isSet("CHAT2RESPONSE_SLED_PATH") && c.APIKey == "":
		// Keys open nothing here, and where the keys are the conversations go too: a folder that nobody has asked for
		// would be filled with them.
		spec, chosen = "memory", "until the process ends"
	default:
		spec, chosen = "bbolt:"+v.text("CHAT2RESPONSE_SLED_PATH"), "CHAT2RESPONSE_SLED_PATH"
	}
	c.Keys, err = v.store(c, spec, chosen, "CHAT2RESPONSE_REDIS_URL")
	if err != nil {
		return err
	}
	switch {
	case !v.isSet("CHAT2RESPONSE_REDIS_POOL_MAX"):
	case c.Keys.Backend == "redis":
		c.Keys.Pool = pool
	default:
		c.note("CHAT2RESPONSE_REDIS_POOL_MAX has no effect: the keys are not in Redis")
	}
	return nil
}

// store reads where something is kept. The URL of a Redis may hold a password, so it
// stays a variable: urlVar.
func (v *Values) store(c *Config, spec, chosen, urlVar string) (Store, error) {
	module, notice, err := store.ParseSpec(spec)
	if err != nil {
		if shown := Shown(spec); shown != spec { // the message repeats what is not known; of "user:password@host" too
			_, _, err = store.ParseSpec(shown)
		}
		return Store{}, fmt.Errorf("%s: %w", chosen, err)
	}
	if notice != "" {
		c.note("%s: %s", chosen, notice)
	}
	s := Store{Chosen: chosen}
	switch m := module.(type) {
	case *store.Memory:
		s.Backend = "memory"
	case *store.Bbolt:
		s.Backend, s.Path = "bbolt", m.Path
		if s.Path == "" {
			s.Path = v.text("CHAT2RESPONSE_SLED_PATH")
		}
		switch {
		case !plain(s.Path):
			return s, fmt.Errorf("%s: the path must not have braces, quotes and line ends in it", chosen)
		case strings.Contains(s.Path, "://"):
			return s, fmt.Errorf("%s: a path is wanted, and not a URL (CHAT2RESPONSE_REDIS_URL is for that of a Redis)", chosen)
		}
	case *store.Redis:
		v.set(urlVar, m.URL, v.values[urlVar].source)
		s.Backend, s.URL = "redis", c.env(urlVar)
	}
	return s, nil
}

// state chooses where responses and conversations are kept.
func (v *Values) state(c *Config) (err error) {
	const name = "CHAT2RESPONSE_STATE"
	switch {
	case !v.isSet(name):
	case strings.EqualFold(v.text(name), "off"):
		c.State = Store{Backend: "off", Chosen: name}
	default:
		c.State, err = v.store(c, v.text(name), name, name)
	}
	c.StateSealed = v.isSet("CHAT2RESPONSE_STATE_KEY") || v.isSet("CHAT2RESPONSE_STATE_KEY_FILE")
	if v.isSet("CHAT2RESPONSE_STATE_KEY") && len(v.text("CHAT2RESPONSE_STATE_KEY")) < 16 {
		err = errors.Join(err, v.bad("CHAT2RESPONSE_STATE_KEY", "16 bytes or more, random ones (openssl rand -hex 32)"))
	}
	if file := v.text("CHAT2RESPONSE_STATE_KEY_FILE"); !plain(file) {
		err = errors.Join(err, v.bad("CHAT2RESPONSE_STATE_KEY_FILE", "a path without braces, quotes and line ends"))
	}
	return err
}

// yes reads a switch.
func (v *Values) yes(name string) (bool, error) {
	switch strings.ToLower(v.text(name)) {
	case "1", "true", "yes", "on":
		return true, nil
	case "", "0", "false", "no", "off":
		return false, nil
	}
	return false, v.bad(name, "1 or 0")
}

// number reads a whole number.
func (v *Values) number(name string, least, most int) (int, error) {
	n, err := strconv.Atoi(v.text(name))
	if err != nil || n < least || n > most {
		return 0, v.bad(name, "a whole number from %d to %d", least, most)
	}
	return n, nil
}

// plain tells whether a text stands for itself in a Caddyfile once it is quoted.
func plain(s string) bool { return !strings.ContainsAny(s, "{}\"`\r\n\x00") }
