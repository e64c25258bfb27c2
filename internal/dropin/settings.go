// Package dropin reads the command line, the environment and the .env file that
// the original chat2response was configured by, checks them, and writes them as a
// Caddyfile. It opens nothing and starts nothing.
package dropin

import "strings"

// Setting is one thing that can be set: by a flag, by a variable, or by a line of a
// .env file, in this order. An empty value is as good as none.
type Setting struct {
	// Var is the variable. Other are its other names, which count if it is not set.
	Var   string
	Other []string
	// Flag is the flag, without its dashes.
	Flag string
	// Group is the heading under which the help lists it.
	Group string
	// Value stands for the value in the help; empty for a switch, which is 1 or 0.
	Value string
	// Default is what holds without it; empty for none.
	Default string
	// Help is what it does, in one line.
	Help string
	// Secret values are never printed.
	Secret bool
}

// The groups, in the order of the help.
const (
	upstream = "Upstream"
	server   = "Server"
	network  = "Network"
	browsers = "Browsers (CORS)"
	tools    = "Tools of the mcp.json"
	memory   = "Responses and conversations"
	apiKeys  = "API keys of the gateway"
)

// Settings are all of them, in the order of the help. The first of each group are
// the original's.
var Settings = []Setting{
	{Var: "OPENAI_BASE_URL", Group: upstream, Value: "<url>", Default: "https://api.openai.com/v1", Help: "where the upstream's API is"},
	{Var: "OPENAI_API_KEY", Group: upstream, Value: "<key>", Secret: true, Help: "sent to the upstream; clients then need keys of the gateway"},
	{Var: "OPENAI_API_KEY_FILE", Group: upstream, Value: "<path>", Help: "the file that holds it, in place of OPENAI_API_KEY"},
	{Var: "UPSTREAM_MODE", Other: []string{"CHAT2RESPONSE_UPSTREAM"}, Group: upstream, Value: "responses|chat", Default: "responses", Help: "the API that the upstream speaks"},
	{Var: "CHAT2RESPONSE_UPSTREAM_INPUT", Group: upstream, Help: "has no effect any more: input is always sent"},
	{Var: "CHAT2RESPONSE_DIALECT", Group: upstream, Value: "<name>", Default: "generic", Help: "the kind of server: openai, vllm, ollama, ..."},
	{Var: "CHAT2RESPONSE_SEAL_KEY", Group: upstream, Value: "<secret>", Secret: true, Help: "seals reasoning for clients; several gateways need the same"},

	{Var: "BIND_ADDR", Group: server, Value: "<host:port>", Default: "0.0.0.0:8088", Help: "where to listen"},
	{Var: "CHAT2RESPONSE_ADMIN_ADDR", Other: []string{"CADDY_ADMIN"}, Group: server, Value: "<host:port>|off", Default: "localhost:2019", Help: "Caddy's admin socket, which the command keys needs"},
	{Var: "RUST_LOG", Flag: "log-level", Group: server, Value: "<level>", Default: "info", Help: "error, warn, info, debug or off"},
	{Var: "CHAT2RESPONSE_ACCESS_LOG", Group: server, Help: "log every request, without its body"},
	{Var: "ENV_FILE", Other: []string{"ENVFILE", "DOTENV_PATH"}, Group: server, Value: "<path>", Help: "the .env file (default: .envfile or .env here, .env above, or beside the program)"},

	{Var: "CHAT2RESPONSE_PROXY_URL", Group: network, Value: "<url>", Secret: true, Help: "the proxy to the upstream, whatever its scheme"},
	{Var: "HTTP_PROXY", Other: []string{"http_proxy"}, Group: network, Value: "<url>", Secret: true, Help: "the proxy to http:// upstreams; NO_PROXY counts"},
	{Var: "HTTPS_PROXY", Other: []string{"https_proxy"}, Group: network, Value: "<url>", Secret: true, Help: "the proxy to https:// upstreams; NO_PROXY counts"},
	{Var: "CHAT2RESPONSE_NO_PROXY", Group: network, Help: "use no proxy at all"},
	{Var: "CHAT2RESPONSE_HTTP_TIMEOUT_SECONDS", Group: network, Value: "<n>", Default: "60", Help: "how long the upstream may take to begin its answer; 0: for ever"},
	{Var: "CHAT2RESPONSE_IDLE_TIMEOUT_SECONDS", Group: network, Value: "<n>", Help: "how long it may be silent in its answer (default: 300, or the above if longer)"},

	{Var: "CORS_ALLOWED_ORIGINS", Group: browsers, Value: "<list>|*|off", Help: "origins, with commas between (default: * where clients need keys, else off)"},
	{Var: "CORS_ALLOWED_METHODS", Group: browsers, Value: "<list>", Default: "*", Help: "methods"},
	{Var: "CORS_ALLOWED_HEADERS", Group: browsers, Value: "<list>", Default: "*", Help: "request headers"},
	{Var: "CORS_ALLOW_CREDENTIALS", Group: browsers, Help: "allow cookies and the like; needs a list of origins"},
	{Var: "CORS_MAX_AGE", Group: browsers, Value: "<n>", Default: "3600", Help: "for how many seconds browsers remember this"},

	{Var: "CHAT2RESPONSE_MCP_ALLOW_UNAUTHENTICATED", Group: tools, Help: "without OPENAI_API_KEY: offer them to clients on other machines too"},

	{Var: "CHAT2RESPONSE_STATE", Group: memory, Value: "<where>", Secret: true, Help: "memory, bbolt:<path>, redis://... or off (default: where the keys are)"},
	{Var: "CHAT2RESPONSE_STATE_KEY", Group: memory, Value: "<secret>", Secret: true, Help: "encrypts them"},
	{Var: "CHAT2RESPONSE_STATE_KEY_FILE", Group: memory, Value: "<path>", Help: "the file that holds it"},

	{Var: "CHAT2RESPONSE_REDIS_URL", Group: apiKeys, Value: "<url>", Secret: true, Help: "keep keys in this Redis, unless --keys-backend says otherwise"},
	{Var: "CHAT2RESPONSE_REDIS_POOL_MAX", Group: apiKeys, Value: "<n>", Default: "16", Help: "most connections to Redis"},
	{Var: "CHAT2RESPONSE_SLED_PATH", Group: apiKeys, Value: "<path>", Default: "./data/keys.db", Help: "else in this file (bbolt); in memory where keys open nothing"},
	{Var: "CHAT2RESPONSE_KEYS_REQUIRE_EXPIRATION", Group: apiKeys, Default: "1", Help: "keys end; see the next"},
	{Var: "CHAT2RESPONSE_KEYS_ALLOW_NO_EXPIRATION", Group: apiKeys, Default: "0", Help: "keys may be made that never end"},
	{Var: "CHAT2RESPONSE_KEYS_DEFAULT_TTL_SECONDS", Group: apiKeys, Value: "<n>", Default: "86400", Help: "how long a key is good that does not say; 0: it must say"},
	{Var: "CHAT2RESPONSE_ADMIN_TOKEN", Group: apiKeys, Value: "<token>", Secret: true, Help: "opens /keys from other machines; 24 bytes or more"},
	{Var: "CHAT2RESPONSE_ADMIN_TOKEN_FILE", Group: apiKeys, Value: "<path>", Help: "the file that holds it"},
	{Var: "CHAT2RESPONSE_INSECURE_ADMIN", Group: apiKeys, Help: "answer /keys to everyone, as the original did"},
}

func init() {
	for i := range Settings {
		s := &Settings[i]
		if s.Flag == "" {
			s.Flag = strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(s.Var, "CHAT2RESPONSE_")), "_", "-")
		}
	}
}

// byVar finds a setting by its variable.
func byVar(name string) *Setting {
	for i := range Settings {
		if Settings[i].Var == name {
			return &Settings[i]
		}
	}
	panic("dropin: no setting " + name)
}
