package dropin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/labiium/chat2response/convert"
)

// gracePeriod is how long streams may go on when the process is told to stop.
const gracePeriod = 30 * time.Second

// Caddyfile is the configuration as a Caddyfile, in the form of `caddy fmt`. What
// the process runs is this text: there is no second way from settings to Caddy.
func (c *Config) Caddyfile() string {
	w := &writer{}
	if len(c.Needs) > 0 {
		needs := slices.Compact(slices.Sorted(slices.Values(c.Needs)))
		w.line("# It needs these variables where it runs: " + strings.Join(needs, ", "))
	}
	w.block("", func() {
		w.line("admin", c.Admin)
		w.line("persist_config", "off")
		w.line("grace_period", gracePeriod.String())
		w.block("log", func() {
			w.line("level", c.LogLevel)
			writeLogFilter(w)
		})
	})
	w.line("")
	w.block("http://:"+c.Port, func() {
		if c.Host != "" {
			w.line("bind", c.Host)
		}
		if c.AccessLog {
			w.line("log")
		}
		c.writeCORS(w)
		w.line("")
		w.block("route", func() {
			// Which pages may read an answer is said here, and not by an upstream that allows all of them (vLLM does).
			w.line("header", "-Access-Control-*")
			w.block("chat2response "+quote(c.BaseURL), func() {
				c.writeUpstream(w)
				c.writeKeys(w)
				c.writeState(w)
				c.writeMCP(w)
			})
			w.line("header", "Content-Type", "application/json")
			w.line("respond", notFound, "404")
		})
	})
	return string(caddyfile.Format([]byte(w.String())))
}

// SecretHeaders are the request headers in which clients send keys without Caddy's logs knowing that they are secret:
// those of Anthropic's, Azure's and Google's clients, and the one in which browsers hand a key over with a WebSocket.
// Caddy hides Authorization, Proxy-Authorization and Cookie by itself; of a cookie not even the word is of use.
var SecretHeaders = []string{"Api-Key", "Cookie", "Sec-Websocket-Protocol", "X-Api-Key", "X-Goog-Api-Key"}

// SecretParameters are the parameters of a query that hold keys for some APIs. The gateway takes none from there, and
// clients send them all the same.
var SecretParameters = []string{"access_token", "api-key", "api_key", "key"}

// writeLogFilter keeps clients' keys out of the log. It is that of the whole process, not only of the site: what Caddy
// says of a request that failed, and at debug level of each, goes there with all headers, whether or not there is an
// access log.
func writeLogFilter(w *writer) {
	w.block("format filter", func() {
		for _, name := range SecretHeaders {
			w.line("request>headers>"+name, "delete")
		}
		w.block("request>uri query", func() {
			for _, name := range SecretParameters {
				w.line("replace", name, "REDACTED")
			}
		})
	})
}

// LogFilter is the same filter as JSON, for logs whose configuration is no Caddyfile.
func LogFilter() map[string]any {
	fields := map[string]any{}
	for _, name := range SecretHeaders {
		fields["request>headers>"+name] = map[string]any{"filter": "delete"}
	}
	var actions []any
	for _, name := range SecretParameters {
		actions = append(actions, map[string]any{"type": "replace", "parameter": name, "value": "REDACTED"})
	}
	fields["request>uri"] = map[string]any{"filter": "query", "actions": actions}
	return map[string]any{"format": "filter", "fields": fields}
}

// notFound is what other paths are answered.
const notFound = `{"error":{"message":"There is nothing at this path.","type":"invalid_request_error","param":null,"code":null}}`

func (c *Config) writeUpstream(w *writer) {
	w.line("mode", string(c.Mode))
	if c.Dialect != "generic" {
		w.line("dialect", c.Dialect)
	}
	if c.APIKey != "" {
		w.line("api_key", c.APIKey)
	}
	if c.SealKey != "" {
		w.line("seal_key", c.SealKey)
	}
	if c.FirstByte == 0 && c.Idle == 0 && c.Proxy == "" {
		return
	}
	w.block("transport http", func() {
		if c.FirstByte > 0 {
			w.line("response_header_timeout", seconds(c.FirstByte))
		}
		if c.Idle > 0 {
			w.line("read_timeout", seconds(c.Idle))
		}
		switch c.Proxy {
		case "":
		case "none":
			w.line("network_proxy", "none")
		default:
			w.line("network_proxy", "url", c.Proxy)
		}
	})
}

func seconds(d time.Duration) string { return fmt.Sprintf("%ds", d/time.Second) }

func (c *Config) writeKeys(w *writer) {
	head := "keys " + c.Keys.Backend
	if argument := c.Keys.Path + c.Keys.URL; argument != "" {
		head += " " + quote(argument)
	}
	w.block(head, func() {
		if c.APIKey == "" {
			w.line("passthrough")
		}
		if c.Policy.DefaultTTL == 0 {
			w.line("default_ttl", "none")
		} else {
			w.line("default_ttl", fmt.Sprintf("%ds", c.Policy.DefaultTTL))
		}
		if c.Policy.AllowNoExpiration {
			w.line("allow_no_expiration")
		}
		if c.Keys.Pool > 0 {
			w.block("store", func() { w.line("pool_size", fmt.Sprint(c.Keys.Pool)) })
		}
	})
}

func (c *Config) writeState(w *writer) {
	switch argument := c.State.Path + c.State.URL; {
	case c.State.Backend == "": // where the keys are
	case argument == "":
		w.line("state", c.State.Backend)
	default:
		w.line("state", c.State.Backend, argument)
	}
}

// writeMCP is where the mcp.json goes into the handler's configuration.
func (c *Config) writeMCP(w *writer) {
	switch {
	case c.MCP == "":
	case c.MCPForAll:
		w.block("mcp "+quote(c.MCP), func() { w.line("allow_unauthenticated") })
	default:
		w.line("mcp", c.MCP)
	}
}

// everyHeader are all request headers; * does not stand for Authorization (Fetch
// standard, CORS-unsafe request-header names).
const everyHeader = "Authorization, *"

func (c *Config) writeCORS(w *writer) {
	cors := c.CORS
	if cors == nil {
		return
	}
	w.line("")
	w.block("@preflight", func() {
		w.line("method", "OPTIONS")
		w.line("header", "Origin", "*")
		w.line("header", "Access-Control-Request-Method", "*")
	})
	allowed := ""
	if cors.Origins != nil {
		allowed = "@allowed_origin "
		w.block("@allowed_origin", func() {
			for _, o := range cors.Origins {
				w.line("header", "Origin", o)
			}
		})
		w.line("header", "+Vary", "Origin")
	}
	// With >, so that an upstream's own header is replaced.
	w.block("header "+strings.TrimSuffix(allowed, " "), func() {
		if cors.Origins == nil {
			w.line(">Access-Control-Allow-Origin", "*")
		} else {
			w.line(">Access-Control-Allow-Origin", "{http.request.header.Origin}")
		}
		if cors.Credentials {
			w.line(">Access-Control-Allow-Credentials", "true")
		}
	})
	methods, headers := "*", everyHeader
	if cors.Credentials { // then * is no more than a name
		methods, headers = "{http.request.header.Access-Control-Request-Method}", "{http.request.header.Access-Control-Request-Headers}"
	}
	if cors.Methods != nil {
		methods = strings.Join(cors.Methods, ", ")
	}
	if cors.Headers != nil {
		headers = strings.Join(cors.Headers, ", ")
	}
	w.block("handle @preflight", func() {
		w.block("header "+strings.TrimSuffix(allowed, " "), func() {
			w.line("Access-Control-Allow-Methods", methods)
			w.line("Access-Control-Allow-Headers", headers)
			w.line("Access-Control-Max-Age", fmt.Sprint(cors.MaxAge))
		})
		w.line("respond", "204")
	})
}

// Summary tells people in a few lines what runs. mcp are the names of the servers
// in the mcp.json.
func (c *Config) Summary(version string, mcp []string) string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "chat2response %s\n", version)
	local := c.Host
	if local == "" || local == "0.0.0.0" || local == "::" {
		local = "localhost"
	}
	if strings.Contains(local, ":") {
		local = "[" + local + "]"
	}
	row("clients", "http://%s:%s/v1", local, c.Port)
	api := "Responses"
	if c.Mode == convert.Chat {
		api = "Chat Completions"
	}
	row("upstream", "%s, %s", c.BaseURL, api)
	if c.APIKey != "" {
		how := "chat2response keys create"
		switch c.Admin {
		case byVar("CHAT2RESPONSE_ADMIN_ADDR").Default:
		case "off":
			how = "POST /keys/generate"
		default:
			how += " --address " + c.Admin
		}
		row("mode", "managed: clients send keys of this gateway (%s)", how)
	} else {
		row("mode", "passthrough: clients send the upstream's keys")
	}
	where := c.Keys.Backend
	if c.Keys.Path != "" {
		where += " " + c.Keys.Path
	}
	row("keys", "%s (%s)", where, c.Keys.Chosen)
	row("state", "%s", c.stateSummary())
	if c.MCP != "" {
		row("mcp", "%s: tools of %s", c.MCP, strings.Join(mcp, ", "))
	}
	for _, note := range c.Notes {
		row("note", "%s", note)
	}
	return b.String()
}

// How long responses and conversations are kept where nothing else is said: what the handler's `ttl` is by default in
// memory, and elsewhere.
const (
	MemoryTTL = 24 * time.Hour
	StoredTTL = 30 * 24 * time.Hour
)

// stateSummary says what is kept of prompts and answers, where and how long, whether others could read it there, and
// what changes that.
func (c *Config) stateSummary() string {
	at := c.State
	if at.Backend == "" {
		at = c.Keys
	}
	what := "kept"
	if c.Mode == convert.Responses { // of which the gateway keeps only what a client names itself
		what = "responses are the upstream's; conversations that ?conversation_id= names are kept"
	}
	place := at.Path
	switch at.Backend {
	case "off":
		return "nothing is kept"
	case "memory":
		return fmt.Sprintf("%s %d hours in memory (CHAT2RESPONSE_STATE=bbolt:<path>|redis://...|off)", what, MemoryTTL/time.Hour)
	case "redis":
		place = "Redis"
	}
	if c.StateSealed {
		return fmt.Sprintf("%s %d days in %s, encrypted", what, StoredTTL/(24*time.Hour), place)
	}
	return fmt.Sprintf("%s %d days in %s, not encrypted (CHAT2RESPONSE_STATE=memory|off, CHAT2RESPONSE_STATE_KEY)",
		what, StoredTTL/(24*time.Hour), place)
}

// writer writes a Caddyfile, not indented.
type writer struct{ strings.Builder }

// line writes a line; all but the first word are quoted where they need it.
func (w *writer) line(first string, rest ...string) {
	w.WriteString(first)
	for _, word := range rest {
		w.WriteByte(' ')
		w.WriteString(quote(word))
	}
	w.WriteByte('\n')
}

func (w *writer) block(head string, inside func()) {
	w.line(strings.TrimSpace(head + " {"))
	inside()
	w.line("}")
}

// quote makes one token of a text. There are no backquotes in it: see [plain].
func quote(s string) string {
	switch {
	case strings.HasPrefix(s, "{env.") || strings.HasPrefix(s, "{http.") || strings.HasPrefix(s, "{file.") && !strings.ContainsAny(s, " \t\\"):
		return s
	case s == "" || strings.ContainsAny(s, " \t\"\\{}#"):
		return "`" + s + "`"
	}
	return s
}
