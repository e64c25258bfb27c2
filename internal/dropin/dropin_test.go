package dropin

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const secret = "0123456789abcdef0123456789abcdef"

// effects say what each setting does to the Caddyfile or to the notes, and what is
// said of its bad values.
var effects = map[string]struct {
	also string // NAME=value of another setting that it needs
	good map[string]string
	bad  map[string]string
}{
	"OPENAI_BASE_URL": {
		good: map[string]string{"http://localhost:8000/v1/": "chat2response http://localhost:8000/v1 {", "http://localhost:8000": "chat2response http://localhost:8000/ {"},
		bad: map[string]string{
			"localhost:8000": "a URL such as", "ftp://x/v1": "a URL such as", "http://": "a URL such as", "http://a/{env.HOME}": "a URL such as",
			"http://me:pw@x/v1": "without user", "http://x/v1?a=b": "without user",
		},
	},
	"OPENAI_API_KEY":               {good: map[string]string{"sk-1": "api_key {env.OPENAI_API_KEY}"}},
	"OPENAI_API_KEY_FILE":          {good: map[string]string{"/run/key": "api_key {file./run/key}"}, bad: map[string]string{"/run/{x}": "a path"}},
	"UPSTREAM_MODE":                {good: map[string]string{"chat": "mode chat", "Chat_Completions": "mode chat", "chat-completions": "mode chat", "responses": "mode responses"}, bad: map[string]string{"both": "responses or chat"}},
	"CHAT2RESPONSE_UPSTREAM_INPUT": {good: map[string]string{"1": "has no effect"}, bad: map[string]string{"maybe": "1 or 0"}},
	"CHAT2RESPONSE_DIALECT":        {good: map[string]string{"ollama": "dialect ollama"}, bad: map[string]string{"lama": "one of "}},
	"CHAT2RESPONSE_SEAL_KEY":       {good: map[string]string{secret: "seal_key {env.CHAT2RESPONSE_SEAL_KEY}"}, bad: map[string]string{"short": "at least 16 bytes"}},
	"BIND_ADDR": {
		good: map[string]string{"127.0.0.1:9000": "bind 127.0.0.1", ":9000": "http://:9000 {", "[::1]:9000": "bind ::1", "localhost:9000": "bind localhost"},
		bad:  map[string]string{"9000": "an address", "localhost": "an address", "x:http": "an address", "x:0": "an address"},
	},
	"CHAT2RESPONSE_ADMIN_ADDR":           {good: map[string]string{"localhost:3000": "admin localhost:3000", "off": "admin off", "unix//run/x.sock": "admin unix//run/x.sock"}, bad: map[string]string{"localhost": "an address"}},
	"RUST_LOG":                           {good: map[string]string{"debug": "level DEBUG", "warn,tower_http=info": "level WARN", "x=info": "level INFO", "trace": "level DEBUG", "off": "level FATAL"}, bad: map[string]string{"loud": "error, warn"}},
	"CHAT2RESPONSE_ACCESS_LOG":           {good: map[string]string{"yes": "bind 0.0.0.0\n\tlog\n"}, bad: map[string]string{"x": "1 or 0"}},
	"ENV_FILE":                           {}, // TestDotenv
	"CHAT2RESPONSE_PROXY_URL":            {good: map[string]string{"http://u:p@proxy:3128": "network_proxy url {env.CHAT2RESPONSE_PROXY_URL}", "proxy:3128": "network_proxy url"}, bad: map[string]string{"gopher://u:hide-me@x": "a URL such as", "http://a{b}": "a URL such as"}},
	"HTTP_PROXY":                         {bad: map[string]string{"gopher://u:hide-me@x": "a URL such as"}}, // TestProxies of the module
	"HTTPS_PROXY":                        {bad: map[string]string{"http://": "a URL such as"}},
	"CHAT2RESPONSE_NO_PROXY":             {also: "CHAT2RESPONSE_PROXY_URL=http://x", good: map[string]string{"1": "network_proxy none"}, bad: map[string]string{"localhost": "1 or 0"}},
	"CHAT2RESPONSE_HTTP_TIMEOUT_SECONDS": {good: map[string]string{"7": "response_header_timeout 7s\n\t\t\t\tread_timeout 300s", "900": "read_timeout 900s", "0": "mode responses\n\t\t\tkeys"}, bad: map[string]string{"1m": "a whole number", "-1": "a whole number"}},
	"CHAT2RESPONSE_IDLE_TIMEOUT_SECONDS": {good: map[string]string{"90": "read_timeout 90s", "0": "response_header_timeout 60s\n\t\t\t}"}, bad: map[string]string{"9": "not less than CHAT2RESPONSE_HTTP_TIMEOUT_SECONDS", "x": "a whole number"}},
	"CORS_ALLOWED_ORIGINS": {
		good: map[string]string{"https://a.example, http://localhost:3000": "header Origin http://localhost:3000", "*": ">Access-Control-Allow-Origin *", "off": "bind 0.0.0.0\n\n\troute {"},
		bad:  map[string]string{"a.example": "origins such as", "https://a.example/": "origins such as", "https://a.example,*": "origins such as", "{http.request.header.Origin}": "origins such as"},
	},
	"CORS_ALLOWED_METHODS":                    {also: "CORS_ALLOWED_ORIGINS=*", good: map[string]string{"GET,POST": "Access-Control-Allow-Methods `GET, POST`"}, bad: map[string]string{"GET POST": "methods with commas"}},
	"CORS_ALLOWED_HEADERS":                    {also: "CORS_ALLOWED_ORIGINS=*", good: map[string]string{"authorization,content-type": "Access-Control-Allow-Headers `authorization, content-type`"}, bad: map[string]string{"a:b": "names of headers"}},
	"CORS_ALLOW_CREDENTIALS":                  {also: "CORS_ALLOWED_ORIGINS=https://a.example", good: map[string]string{"true": "Access-Control-Allow-Credentials true"}, bad: map[string]string{"x": "1 or 0"}},
	"CORS_MAX_AGE":                            {also: "CORS_ALLOWED_ORIGINS=*", good: map[string]string{"7": "Access-Control-Max-Age 7\n"}, bad: map[string]string{"1h": "a whole number from 0 to 86400", "86401": "a whole number"}},
	"CHAT2RESPONSE_MCP_ALLOW_UNAUTHENTICATED": {good: map[string]string{"1": "there is no mcp.json"}, bad: map[string]string{"x": "1 or 0"}}, // TestMCP
	"CHAT2RESPONSE_STATE": {
		good: map[string]string{"off": "\t\t\tstate off\n", "memory": "state memory", "bbolt:/data/state.db": "state bbolt /data/state.db", "redis://u:p@x/": "state redis {env.CHAT2RESPONSE_STATE}"},
		bad:  map[string]string{"http://u:hide-me@x": "unknown", "bbolt:{x}": "braces"},
	},
	"CHAT2RESPONSE_STATE_KEY":                {bad: map[string]string{"short": "16 bytes or more"}}, // TestServeState of the module
	"CHAT2RESPONSE_STATE_KEY_FILE":           {bad: map[string]string{"{x}": "a path"}},
	"CHAT2RESPONSE_REDIS_URL":                {good: map[string]string{"redis://127.0.0.1/": "keys redis {env.CHAT2RESPONSE_REDIS_URL} {"}, bad: map[string]string{"127.0.0.1:6379": "a URL such as", "memory": "a URL such as", "http://u:hide-me@x": "unknown"}},
	"CHAT2RESPONSE_REDIS_POOL_MAX":           {also: "CHAT2RESPONSE_REDIS_URL=redis://x", good: map[string]string{"3": "pool_size 3"}, bad: map[string]string{"0": "a whole number from 1 to 10000"}},
	"CHAT2RESPONSE_SLED_PATH":                {good: map[string]string{"/data/keys.db": "keys bbolt /data/keys.db {", `C:\a b\k.db`: "keys bbolt `C:\\a b\\k.db` {"}, bad: map[string]string{"{env.X}": "braces"}},
	"CHAT2RESPONSE_KEYS_REQUIRE_EXPIRATION":  {good: map[string]string{"0": "REQUIRE_EXPIRATION=0 has no effect alone"}, bad: map[string]string{"x": "want 1 or 0"}},
	"CHAT2RESPONSE_KEYS_ALLOW_NO_EXPIRATION": {good: map[string]string{"1": "allow_no_expiration"}, bad: map[string]string{"x": "want 1 or 0"}},
	"CHAT2RESPONSE_KEYS_DEFAULT_TTL_SECONDS": {good: map[string]string{"3600": "default_ttl 3600s", "0": "default_ttl none"}, bad: map[string]string{"1d": "a whole number", "999999999": "a whole number from 0 to 315360000"}},
	"CHAT2RESPONSE_ADMIN_TOKEN":              {bad: map[string]string{"short": "24 bytes or more"}}, // TestSettingsOfKeys of the module
	"CHAT2RESPONSE_ADMIN_TOKEN_FILE":         {bad: map[string]string{"{x}": "a path"}},
	"CHAT2RESPONSE_INSECURE_ADMIN":           {good: map[string]string{"1": "whoever reaches this address"}, bad: map[string]string{"x": "1 or 0"}},
}

func env(vars ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, v := range vars {
			if n, text, _ := strings.Cut(v, "="); n == name {
				return text, true
			}
		}
		return "", false
	}
}

// check reads settings in an empty directory.
func check(t *testing.T, flags map[string]string, backend string, vars ...string) (*Config, error) {
	t.Helper()
	v, err := Gather(flags, Place{Env: env(vars...), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return v.Check(backend, "")
}

func TestEverySetting(t *testing.T) {
	for _, s := range Settings {
		e, ok := effects[s.Var]
		if !ok {
			t.Errorf("%s is not tested", s.Var)
		}
		for text, want := range e.good {
			for _, name := range append([]string{s.Var}, s.Other...) {
				c, err := check(t, nil, "", name+"="+text, e.also)
				if err != nil {
					t.Errorf("%s=%s: %v", name, text, err)
					continue
				}
				if all := c.Caddyfile() + strings.Join(c.Notes, "\n"); !strings.Contains(all, want) {
					t.Errorf("%s=%s: no %q in\n%s", name, text, want, all)
				}
			}
			// A flag goes before a variable.
			c, err := check(t, map[string]string{s.Flag: text}, "", s.Var+"=this is not right", e.also)
			if err != nil {
				t.Errorf("--%s=%s: %v", s.Flag, text, err)
			} else if all := c.Caddyfile() + strings.Join(c.Notes, "\n"); !strings.Contains(all, want) {
				t.Errorf("--%s=%s: no %q in\n%s", s.Flag, text, want, all)
			}
		}
		for text, want := range e.bad {
			_, err := check(t, nil, "", s.Var+"="+text, e.also)
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), s.Var) {
				t.Errorf("%s=%s: got %v, want %q and the variable's name", s.Var, text, err, want)
			}
			if err != nil && strings.Contains(err.Error(), "hide-me") {
				t.Errorf("%s: the message shows the value: %v", s.Var, err)
			}
		}
	}
	if len(effects) != len(Settings) {
		t.Errorf("%d settings are tested, there are %d", len(effects), len(Settings))
	}
}

func TestBadCombinations(t *testing.T) {
	for want, vars := range map[string][]string{
		"both set":                {"OPENAI_API_KEY=a", "OPENAI_API_KEY_FILE=b"},
		"list the origins":        {"CORS_ALLOW_CREDENTIALS=1"},
		"BIND_ADDR is \"x\"":      {"BIND_ADDR=x", "CORS_MAX_AGE=y"},
		"CORS_MAX_AGE is \"y\"":   {"BIND_ADDR=x", "CORS_MAX_AGE=y"},
		"(from CADDY_ADMIN)":      {"CADDY_ADMIN=x"},
		"1 or 0":                  {"CORS_ALLOW_CREDENTIALS=2"},
		"a whole number from 0 t": {"CHAT2RESPONSE_HTTP_TIMEOUT_SECONDS=99999999"},
	} {
		if _, err := check(t, nil, "", vars...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", vars, err, want)
		}
	}
	if _, err := check(t, map[string]string{"cors-max-age": "y"}, ""); err == nil || !strings.Contains(err.Error(), "(from --cors-max-age)") {
		t.Errorf("got %v", err)
	}
}

// The README's order: --keys-backend, CHAT2RESPONSE_REDIS_URL, the embedded store.
// The fourth row, memory, is a matter of the start.
func TestKeysBackend(t *testing.T) {
	redis, path := "CHAT2RESPONSE_REDIS_URL=redis://env/", "CHAT2RESPONSE_SLED_PATH=/env.db"
	for _, row := range []struct {
		backend string
		vars    []string
		want    Store
		url     string
	}{
		{"", []string{"OPENAI_API_KEY=k"}, Store{Backend: "bbolt", Path: "./data/keys.db", Chosen: "CHAT2RESPONSE_SLED_PATH"}, ""},
		{"", []string{"OPENAI_API_KEY_FILE=k"}, Store{Backend: "bbolt", Path: "./data/keys.db", Chosen: "CHAT2RESPONSE_SLED_PATH"}, ""},
		{"", nil, Store{Backend: "memory", Chosen: "until the process ends"}, ""}, // A2
		{"bbolt", nil, Store{Backend: "bbolt", Path: "./data/keys.db", Chosen: "--keys-backend"}, ""},
		{"", []string{path}, Store{Backend: "bbolt", Path: "/env.db", Chosen: "CHAT2RESPONSE_SLED_PATH"}, ""},
		{"", []string{redis, path}, Store{Backend: "redis", URL: "{env.CHAT2RESPONSE_REDIS_URL}", Chosen: "CHAT2RESPONSE_REDIS_URL"}, "redis://env/"},
		{"", []string{"CHAT2RESPONSE_REDIS_URL= ", path}, Store{Backend: "bbolt", Path: "/env.db", Chosen: "CHAT2RESPONSE_SLED_PATH"}, ""},
		{"redis://cli/", []string{redis, path}, Store{Backend: "redis", URL: "{env.CHAT2RESPONSE_REDIS_URL}", Chosen: "--keys-backend"}, "redis://cli/"},
		{"rediss://cli/", nil, Store{Backend: "redis", URL: "{env.CHAT2RESPONSE_REDIS_URL}", Chosen: "--keys-backend"}, "rediss://cli/"},
		{"sled:/cli.db", []string{redis, path}, Store{Backend: "bbolt", Path: "/cli.db", Chosen: "--keys-backend"}, ""},
		{"bbolt:/cli.db", []string{redis, path}, Store{Backend: "bbolt", Path: "/cli.db", Chosen: "--keys-backend"}, ""},
		{"bbolt", []string{redis, path}, Store{Backend: "bbolt", Path: "/env.db", Chosen: "--keys-backend"}, ""},
		{"memory", []string{redis, path}, Store{Backend: "memory", Chosen: "--keys-backend"}, ""},
		{"MEMORY", nil, Store{Backend: "memory", Chosen: "--keys-backend"}, ""},
	} {
		v, err := Gather(nil, Place{Env: env(row.vars...), Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		c, err := v.Check(row.backend, "")
		if err != nil {
			t.Errorf("%q, %v: %v", row.backend, row.vars, err)
			continue
		}
		if c.Keys != row.want {
			t.Errorf("%q, %v: got %+v, want %+v", row.backend, row.vars, c.Keys, row.want)
		}
		if got := v.Environ()["CHAT2RESPONSE_REDIS_URL"]; row.url != "" && got != row.url {
			t.Errorf("%q, %v: the URL is %q, want %q", row.backend, row.vars, got, row.url)
		}
	}
	for _, backend := range []string{"file:x", "sled:", "postgres://x"} {
		if _, err := check(t, nil, backend); err == nil || !strings.Contains(err.Error(), "--keys-backend: keys backend") {
			t.Errorf("%q: got %v", backend, err)
		}
	}
}

// H7: where clients need no keys, web pages are allowed nothing unless the operator says so; where they need them, the
// original's * stays.
func TestCORSByDefault(t *testing.T) {
	const all = ">Access-Control-Allow-Origin *"
	for _, row := range []struct {
		vars       []string
		line, note string // empty: none
	}{
		{nil, "", ""},
		{[]string{"CORS_ALLOWED_ORIGINS=*"}, all, "any web page"},
		{[]string{"CORS_ALLOWED_ORIGINS=https://a.example"}, "header Origin https://a.example", ""},
		{[]string{"CORS_ALLOWED_ORIGINS=off"}, "", ""},
		{[]string{"CORS_MAX_AGE=7"}, "", "CORS_MAX_AGE has no effect"},
		{[]string{"CORS_ALLOWED_METHODS=GET"}, "", "CORS_ALLOWED_METHODS has no effect"},
		{[]string{"CORS_ALLOWED_HEADERS=authorization"}, "", "CORS_ALLOWED_HEADERS has no effect"},
		{[]string{"OPENAI_API_KEY=k"}, all, ""},
		{[]string{"OPENAI_API_KEY_FILE=k"}, all, ""},
		{[]string{"OPENAI_API_KEY=k", "CORS_ALLOWED_ORIGINS=*"}, all, ""},
		{[]string{"OPENAI_API_KEY=k", "CORS_ALLOWED_ORIGINS=off"}, "", ""},
	} {
		c, err := check(t, nil, "", row.vars...)
		if err != nil {
			t.Errorf("%v: %v", row.vars, err)
			continue
		}
		if text := c.Caddyfile(); !strings.Contains(text, row.line) || row.line == "" && strings.Contains(text, "Access-Control-Allow") {
			t.Errorf("%v: no %q in %s", row.vars, row.line, text)
		}
		if notes := strings.Join(c.Notes, "\n"); !strings.Contains(notes, row.note) || row.note == "" && notes != "" {
			t.Errorf("%v: the notes are %q", row.vars, notes)
		}
	}
}

// A2: the start says what is kept of prompts and answers, where, how long, and whether it can be read there. In a file
// it is only where somebody has named one.
func TestStateSummary(t *testing.T) {
	const chat, key = "UPSTREAM_MODE=chat", "OPENAI_API_KEY=k"
	for _, row := range []struct {
		vars []string
		want string
	}{
		{[]string{chat}, "kept 24 hours in memory (CHAT2RESPONSE_STATE=bbolt:<path>|redis://...|off)"},
		{[]string{chat, "CHAT2RESPONSE_SLED_PATH=k.db"}, "kept 30 days in k.db, not encrypted (CHAT2RESPONSE_STATE=memory|off, CHAT2RESPONSE_STATE_KEY)"},
		{[]string{chat, key}, "kept 30 days in ./data/keys.db, not encrypted (CHAT2RESPONSE_STATE=memory|off, CHAT2RESPONSE_STATE_KEY)"},
		{[]string{chat, key, "CHAT2RESPONSE_STATE=memory"}, "kept 24 hours in memory (CHAT2RESPONSE_STATE=bbolt:<path>|redis://...|off)"},
		{[]string{chat, key, "CHAT2RESPONSE_STATE=off"}, "nothing is kept"},
		{[]string{chat, key, "CHAT2RESPONSE_STATE=bbolt"}, "kept 30 days in ./data/keys.db, not encrypted (CHAT2RESPONSE_STATE=memory|off, CHAT2RESPONSE_STATE_KEY)"},
		{[]string{chat, key, "CHAT2RESPONSE_STATE=bbolt:s.db", "CHAT2RESPONSE_STATE_KEY=" + secret}, "kept 30 days in s.db, encrypted"},
		{[]string{chat, "CHAT2RESPONSE_STATE=bbolt:s.db", "CHAT2RESPONSE_STATE_KEY_FILE=/run/k"}, "kept 30 days in s.db, encrypted"},
		{[]string{chat, "CHAT2RESPONSE_REDIS_URL=redis://u:hide-me@x/"}, "kept 30 days in Redis, not encrypted (CHAT2RESPONSE_STATE=memory|off, CHAT2RESPONSE_STATE_KEY)"},
		{[]string{key}, "responses are the upstream's; conversations that ?conversation_id= names are kept 30 days in ./data/keys.db, not encrypted (CHAT2RESPONSE_STATE=memory|off, CHAT2RESPONSE_STATE_KEY)"},
	} {
		c, err := check(t, nil, "", row.vars...)
		if err != nil {
			t.Errorf("%v: %v", row.vars, err)
			continue
		}
		if got := c.Summary("1", nil); !strings.Contains(got, "\n  state     "+row.want+"\n") || strings.Contains(got, "hide-me") {
			t.Errorf("%v: no %q in %s", row.vars, row.want, got)
		}
	}
}

// A4: who has OPENAI_API_KEY set for OpenAI, and starts a gateway for a model of his own, is told what that does.
func TestExportedKeyIsNoted(t *testing.T) {
	for _, row := range []struct {
		flags map[string]string
		vars  []string
		note  bool
	}{
		{nil, []string{"OPENAI_API_KEY=k", "OPENAI_BASE_URL=http://localhost:11434/v1"}, true},
		{nil, []string{"OPENAI_API_KEY=k", "OPENAI_BASE_URL=http://127.0.0.1:11434/v1"}, true},
		{nil, []string{"OPENAI_API_KEY=k", "OPENAI_BASE_URL=http://[::1]:8000/v1"}, true},
		{nil, []string{"OPENAI_API_KEY=k", "OPENAI_BASE_URL=http://10.1.2.3:8000/v1"}, true},
		{nil, []string{"OPENAI_API_KEY=k", "OPENAI_BASE_URL=http://vllm:8000/v1"}, true},
		{nil, []string{"OPENAI_API_KEY=k", "OPENAI_BASE_URL=http://gpu.lan:8000/v1"}, true},
		{nil, []string{"OPENAI_API_KEY=k"}, false},
		{nil, []string{"OPENAI_API_KEY=k", "OPENAI_BASE_URL=https://api.groq.com/openai/v1"}, false},
		{nil, []string{"OPENAI_BASE_URL=http://localhost:11434/v1"}, false},
		{map[string]string{"openai-api-key": "k"}, []string{"OPENAI_BASE_URL=http://localhost:11434/v1"}, false}, // it is meant
	} {
		v, err := Gather(row.flags, Place{Env: env(row.vars...), Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		c, err := v.Check("", "")
		if err != nil {
			t.Fatal(err)
		}
		const want = "note      OPENAI_API_KEY is set, so clients need a key of this gateway"
		if got := c.Summary("1", nil); strings.Contains(got, want) != row.note || row.note && !strings.Contains(got, "; unset it for a server without keys\n") {
			t.Errorf("%v: %s", row.vars, got)
		}
	}
}

func TestMCP(t *testing.T) {
	for _, row := range []struct {
		path, line, note string
		vars             []string
	}{
		{"", "", "", nil},
		{"mcp.json", "\t\t\tmcp mcp.json\n", "on this machine only", nil},
		{"a b/mcp.json", "\t\t\tmcp `a b/mcp.json`\n", "on this machine only", nil},
		{"mcp.json", "\t\t\tmcp mcp.json {\n\t\t\t\tallow_unauthenticated\n", "whoever reaches this address", []string{"CHAT2RESPONSE_MCP_ALLOW_UNAUTHENTICATED=1"}},
		{"mcp.json", "\t\t\tmcp mcp.json\n", "clients need keys", []string{"CHAT2RESPONSE_MCP_ALLOW_UNAUTHENTICATED=1", "OPENAI_API_KEY=x"}},
		{"mcp.json", "\t\t\tmcp mcp.json\n", "", []string{"OPENAI_API_KEY=x"}},
	} {
		v, err := Gather(nil, Place{Env: env(row.vars...), Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		c, err := v.Check("", row.path)
		if err != nil {
			t.Fatal(err)
		}
		text := c.Caddyfile()
		if !strings.Contains(text, row.line) || row.line == "" && strings.Contains(text, "mcp") {
			t.Errorf("%q %v: no %q in %s", row.path, row.vars, row.line, text)
		}
		if notes := strings.Join(c.Notes, "\n"); !strings.Contains(notes, row.note) || row.note == "" && notes != "" {
			t.Errorf("%q %v: the notes are %q", row.path, row.vars, notes)
		}
	}
	v, _ := Gather(nil, Place{Env: env(), Dir: t.TempDir()})
	if _, err := v.Check("", "{env.X}"); err == nil || !strings.Contains(err.Error(), "the path of the mcp.json") {
		t.Errorf("got %v", err)
	}
}

func TestDotenv(t *testing.T) {
	top := t.TempDir()
	dir, program := filepath.Join(top, "a", "b"), filepath.Join(top, "bin")
	for _, d := range []string{dir, program} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(top, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(flags map[string]string, vars ...string) (*Values, error) {
		return Gather(flags, Place{Env: env(vars...), Dir: dir, Executable: filepath.Join(program, "chat2response")})
	}
	// From the last place to the first: each is taken before those that came earlier.
	for _, path := range []string{"bin/.env", ".env", "a/.env", "a/b/.env", "a/b/.envfile"} {
		write(path, "CORS_MAX_AGE=7\nUPSTREAM_MODE='chat' # a remark\nOTHER=\""+path+"\"\n")
		v, err := read(nil, "UPSTREAM_MODE=responses")
		if err != nil {
			t.Fatal(err)
		}
		if want := filepath.Join(top, path); v.File != want && path != "bin/.env" {
			t.Errorf("read %s, want %s", v.File, want)
		}
		if v.text("CORS_MAX_AGE") != "7" || v.text("UPSTREAM_MODE") != "responses" {
			t.Errorf("%s: %v", path, v.values)
		}
		if path != "bin/.env" && v.Environ()["OTHER"] != path {
			t.Errorf("OTHER is %q", v.Environ()["OTHER"])
		}
	}
	v, _ := read(nil, "OTHER=mine")
	if _, there := v.Environ()["OTHER"]; there {
		t.Error("the file replaces a variable that is set")
	}

	write("named", "CORS_MAX_AGE=8")
	named := filepath.Join(top, "named")
	for _, vars := range []string{"ENV_FILE=" + named, "ENVFILE=" + named, "DOTENV_PATH=" + named} {
		if v, err := read(nil, vars); err != nil || v.File != named || v.text("CORS_MAX_AGE") != "8" {
			t.Errorf("%s: %v, %v", vars, v, err)
		}
	}
	if v, err := read(map[string]string{"env-file": named}); err != nil || v.File != named {
		t.Errorf("--env-file: %v, %v", v, err)
	}
	if _, err := read(nil, "DOTENV_PATH="+named+"x"); err == nil || !strings.Contains(err.Error(), "(from DOTENV_PATH): it must be a file that exists") {
		t.Errorf("got %v", err)
	}
	write("named", "OPENAI_API_KEY=\"sk-very-secret\nX")
	if _, err := read(nil, "ENV_FILE="+named); err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "NAME=value") {
		t.Errorf("got %v", err)
	}
}

func TestPrintHidesSecrets(t *testing.T) {
	v, err := Gather(nil, Place{Dir: t.TempDir(), Env: env("OPENAI_API_KEY=hide-me", "CHAT2RESPONSE_STATE=rediss://u:hide-me@state:1/", "HTTPS_PROXY=u:hide-me@proxy:1", "CHAT2RESPONSE_REDIS_URL=redis://u:hide-me@host:1/2?password=hide-me", "HTTP_PROXY=http://u:hide-me@proxy:1", "CHAT2RESPONSE_ADMIN_TOKEN=hide-me", "CORS_MAX_AGE=7")})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	v.Print(&b)
	if strings.Contains(b.String(), "hide-me") {
		t.Error(b.String())
	}
	for _, want := range []string{"redis://host:1/2", "rediss://state:1/", "http://proxy:1", "CORS_MAX_AGE=7", "# environment", "# default", "# not set"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

// A8: no message shows the password of a URL, whichever setting it stands in, and
// however it is misspelt.
func TestMessagesHidePasswords(t *testing.T) {
	urls := []string{
		"https://me:hide-me@host/v1", "https://hide-me@host/v1", "https://me:hide/hide-me@host", "https://me:a?hide-me@host", "https://me:hide-me#x@host",
		"https://host/v1?key=hide-me", "https://host/v1#hide-me", "me:hide-me@host", "http//me:hide-me@host", "https://me:hide-me@ho st/v1", "redis:me:hide-me@host",
	}
	for _, s := range Settings {
		for _, url := range urls {
			for name, got := range map[string]func() string{
				"checked": func() string {
					v, err := Gather(nil, Place{Env: env(s.Var+"="+url, effects[s.Var].also), Dir: t.TempDir()})
					if err != nil {
						return err.Error()
					}
					c, err := v.Check("", "")
					if err != nil {
						return err.Error()
					}
					return strings.Join(c.Notes, "\n") + c.Summary("1", nil)
				},
				"printed": func() string {
					v, err := Gather(nil, Place{Env: env(s.Var + "=" + url), Dir: t.TempDir()})
					if err != nil {
						return err.Error()
					}
					var b strings.Builder
					v.Print(&b)
					return b.String()
				},
			} {
				path := strings.HasSuffix(s.Var, "_PATH") && !strings.Contains(url, "://") // there it is the name of a file
				if text := got(); strings.Contains(text, "hide-me") && !path {
					t.Errorf("%s=%s, %s: %s", s.Var, url, name, text)
				}
			}
		}
	}
	if _, err := check(t, nil, "", "CHAT2RESPONSE_HTTP_TIMEOUT_SECONDS=https://me:hide-me@x", "CHAT2RESPONSE_IDLE_TIMEOUT_SECONDS=9"); err == nil || strings.Contains(err.Error(), "hide-me") {
		t.Errorf("two times: %v", err)
	}
	for _, url := range urls {
		if _, err := check(t, nil, url); err != nil && strings.Contains(err.Error(), "hide-me") {
			t.Errorf("--keys-backend=%s: %v", url, err)
		}
	}
	for text, want := range map[string]string{
		"http://localhost:8000/v1": "http://localhost:8000/v1", "localhost:8000": "localhost:8000", "": "", "./data/keys.db": "./data/keys.db",
		"https://me:pw@host:1/v1": "https://…@host:1/v1", "me:pw@host": "…@host", "https://host/v1?a=b": "https://host/v1?…", "what is this?": "what is this?",
	} {
		if got := Shown(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}

// The help names every setting, and no line is too wide for a terminal of 160.
func TestUsage(t *testing.T) {
	var b strings.Builder
	Usage(&b)
	for _, s := range Settings {
		if !strings.Contains(b.String(), "--"+s.Flag) || !strings.Contains(b.String(), s.Var) {
			t.Errorf("%s is not in the help", s.Var)
		}
	}
	for _, line := range strings.Split(b.String(), "\n") {
		if len(line) > 160 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	flags := []string{}
	for _, s := range Settings {
		flags = append(flags, s.Flag)
	}
	slices.Sort(flags)
	if n := len(slices.Compact(flags)); n != len(Settings) {
		t.Error("two settings have one flag")
	}
}

// The documentation's table has every setting, with its flag, names and default.
func TestDocumented(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Settings {
		names := "| `" + strings.Join(append([]string{s.Var}, s.Other...), "`, `") + "` | `--" + s.Flag + "` | "
		if s.Default != "" {
			names += "`" + s.Default + "`"
		}
		if !strings.Contains(string(b), "\n"+names) {
			t.Errorf("there is no row that begins %q", names)
		}
	}
}

// original are the variables that the original read.
var original = strings.Fields(`OPENAI_BASE_URL OPENAI_API_KEY BIND_ADDR UPSTREAM_MODE CHAT2RESPONSE_UPSTREAM CHAT2RESPONSE_UPSTREAM_INPUT
	CHAT2RESPONSE_PROXY_URL HTTP_PROXY http_proxy HTTPS_PROXY https_proxy CHAT2RESPONSE_NO_PROXY CHAT2RESPONSE_HTTP_TIMEOUT_SECONDS
	CORS_ALLOWED_ORIGINS CORS_ALLOWED_METHODS CORS_ALLOWED_HEADERS CORS_ALLOW_CREDENTIALS CORS_MAX_AGE
	CHAT2RESPONSE_REDIS_URL CHAT2RESPONSE_REDIS_POOL_MAX CHAT2RESPONSE_SLED_PATH CHAT2RESPONSE_KEYS_REQUIRE_EXPIRATION
	CHAT2RESPONSE_KEYS_ALLOW_NO_EXPIRATION CHAT2RESPONSE_KEYS_DEFAULT_TTL_SECONDS RUST_LOG ENV_FILE ENVFILE DOTENV_PATH`)

// Every variable of the original is a setting, and the page for those who come from
// it says what became of it.
func TestOriginalVariables(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "migration.md"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, s := range Settings {
		names[s.Var] = true
		for _, other := range s.Other {
			names[other] = true
		}
	}
	for _, name := range original {
		if !names[name] {
			t.Errorf("%s is no setting", name)
		}
		if !strings.Contains(string(b), "`"+name+"`") && name != strings.ToLower(name) {
			t.Errorf("docs/migration.md does not name %s", name)
		}
	}
}
