package mcpbridge

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func env(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, p := range pairs {
			if k, v, _ := strings.Cut(p, "="); k == name {
				return v, true
			}
		}
		return "", false
	}
}

// Test 1: the example of the original's README.
func TestReadmeExample(t *testing.T) {
	c, err := Load("testdata/readme.json", env())
	if err != nil {
		t.Fatal(err)
	}
	want := []ServerConfig{
		{Name: "brave-search", Command: "npx", Args: []string{"-y", "@modelcontextprotocol/server-brave-search"}, Env: map[string]string{"BRAVE_API_KEY": "your-brave-api-key"}},
		{Name: "filesystem", Command: "npx", Args: []string{"-y", "@modelcontextprotocol/server-filesystem", "/path/to/allowed/directory"}},
	}
	if !reflect.DeepEqual(c.Servers, want) {
		t.Errorf("%+v", c.Servers)
	}
	if n := exposed("brave-search", []string{"brave-search", "filesystem"}, []string{"search"})["search"]; n != "brave-search_search" {
		t.Error(n)
	}
	if n := exposed("filesystem", []string{"brave-search", "filesystem"}, []string{"read_file"})["read_file"]; n != "filesystem_read_file" {
		t.Error(n)
	}
}

func TestParse(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte("# comment\nexport A=file\nB='quoted # text'\nC=plain # comment\n\nD=\"x=y\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text string
		want ServerConfig
	}{
		"Claude": {`"s": {"command": "npx", "args": ["-y", "p", "${DIR:-/tmp}"], "env": {"K": "${TOKEN}"}, "timeout": 30000}`,
			ServerConfig{Command: "npx", Args: []string{"-y", "p", "/tmp"}, Env: map[string]string{"K": "t0k"}, CallTimeout: 30 * time.Second}},
		"Cursor": {`"s": {"command": "c", "envFile": ".env", "env": {"A": "own", "E": "${env:TOKEN}!"}}`,
			ServerConfig{Command: "c", Env: map[string]string{"A": "own", "B": "quoted # text", "C": "plain", "D": "x=y", "E": "t0k!"}}},
		"VS Code": {`"s": {"type": "stdio", "command": "c", "cwd": "sub", "env": {"A": null, "PORT": 3000}, "dev": {}}`,
			ServerConfig{Type: "stdio", Command: "c", Dir: filepath.Join(dir, "sub"), Env: map[string]string{"PORT": "3000"}, Unset: []string{"A"}}},
		"Codex": {`"s": {"command": "c", "env_vars": ["X"], "enabled_tools": ["a*"], "disabled_tools": ["ab"], "tool_timeout_sec": 1.5, "startup_timeout_sec": 90, "required": true, "supports_parallel_tool_calls": false}`,
			ServerConfig{Command: "c", EnvVars: []string{"X"}, Enabled: []string{"a*"}, Disabled: []string{"ab"}, CallTimeout: 1500 * time.Millisecond, StartTimeout: 90 * time.Second, Required: true, Parallel: 1}},
		"Gemini": {`"s": {"httpUrl": "https://h/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}, "includeTools": ["a"], "excludeTools": ["b"], "trust": true}`,
			ServerConfig{URL: "https://h/mcp", Headers: map[string]string{"Authorization": "Bearer t0k"}, Enabled: []string{"a"}, Disabled: []string{"b"}}},
		"Cline": {`"s": {"type": "streamableHttp", "url": "http://h", "disabled": false, "autoApprove": ["a"], "timeout": "60s"}`,
			ServerConfig{Type: "http", URL: "http://h", CallTimeout: time.Minute}},
		"sse": {`"s": {"transport": "sse", "serverUrl": "http://h/sse", "http_headers": {"X": "1"}}`,
			ServerConfig{Type: "sse", URL: "http://h/sse", Headers: map[string]string{"X": "1"}}},
		"ours": {`"s": {"command": "c", "serial": true, "max_output": 1000, "approve": ["write_*"], "on_change": "drop", "protocol": "2025-06-18", "tools": ["*"]}`,
			ServerConfig{Command: "c", Parallel: 1, MaxOutput: 1000, Approve: []string{"write_*"}, OnChange: "drop", Protocol: "2025-06-18", Enabled: []string{"*"}}},
		"comments": {"\"s\": { // the server\n\"command\": \"c//d\", /* and\n its */ \"args\": [\"a,]\",],\n},",
			ServerConfig{Command: "c//d", Args: []string{"a,]"}}},
		"literal": {`"s": {"command": "$HOME/$${TOKEN}/${EMPTY:-d}/${EMPTY}/"}`,
			ServerConfig{Command: "$HOME/${TOKEN}/d//"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(filepath.Join(dir, "mcp.json"), []byte("\ufeff{\"mcpServers\": {"+c.text+"}}"), env("TOKEN=t0k", "EMPTY="))
			if err != nil {
				t.Fatal(err)
			}
			c.want.Name = "s"
			if len(got.Servers) != 1 || !reflect.DeepEqual(got.Servers[0], c.want) {
				t.Errorf("got  %+v\nwant %+v", got.Servers, c.want)
			}
		})
	}
}

func TestParseNotes(t *testing.T) {
	c, err := Parse("mcp.json", []byte(`{"$schema":"x","inputs":[],"servers":{"off":{"command":"c","disabled":true},"on":{"command":"c","gallery":true,"enabled":true}}}`), env())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`mcp.json: server "off": is switched off`, `mcp.json: server "on": "gallery" has no effect here`}
	if !slices.Equal(c.Notes, want) || len(c.Servers) != 1 || c.Servers[0].Name != "on" {
		t.Errorf("%q %+v", c.Notes, c.Servers)
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		`{"mcpServers": {"filesystem": {"comand": "x"}}}`:                                            `mcp.json: server "filesystem": unknown key "comand" (did you mean "command"?)`,
		`{"mcpServers": {"x": {"command": "a", "url": "http://h"}}}`:                                 `mcp.json: server "x": has both "command" and "url"`,
		`{"mcpServers": {"x": {"url": "http://h", "headers": {"Authorization": "${BRAVE_TOKEN}"}}}}`: `mcp.json: server "x": headers.Authorization: the environment has no BRAVE_TOKEN; set it, or write ${BRAVE_TOKEN:-default}`,
		`{"mcpServers": {"x": {"url": "ftp://h"}}}`:                                                  `mcp.json: server "x": url: "ftp" is neither http nor https`,
		"{\n\n    }}": `mcp.json:3:6: `,
		"{\"mcpServers\": {\n  \"a\": {\"command\": \"c\",\n  \"command\": \"d\"}}}": `mcp.json:3:3: duplicate`,
		`[]`:                                `mcp.json: must be an object`,
		`{"mcpServers": {}, "servers": {}}`: `mcp.json: has both "mcpServers" and "servers": keep one`,
		`{"mcpservers": {}}`:                `mcp.json: unknown key "mcpservers" (did you mean "mcpServers"?)`,
		`{}`:                                `mcp.json: has no "mcpServers"`,
		`{"servers": {}, "inputs": [{"id": "k"}]}`:                                                      `mcp.json: "inputs" ask a person`,
		`{"mcpServers": {"": {"command": "c"}}}`:                                                        `mcp.json: a server's name is empty`,
		`{"mcpServers": {"x": {}}}`:                                                                     `mcp.json: server "x": has neither "command" nor "url"`,
		`{"mcpServers": {"x": []}}`:                                                                     `mcp.json: server "x": must be an object`,
		`{"mcpServers": {"x": {"command": 7}}}`:                                                         `mcp.json: server "x": command: must be a text`,
		`{"mcpServers": {"x": {"command": "c", "args": "-y"}}}`:                                         `mcp.json: server "x": args: must be a list of texts: ["…"]`,
		`{"mcpServers": {"x": {"command": "c", "args": ["${input:k}"]}}}`:                               `mcp.json: server "x": args[0]: ${input:k} asks a person`,
		`{"mcpServers": {"x": {"command": "c", "timeout": 60}}}`:                                        `mcp.json: server "x": timeout: 60 would be 60 ms; write "60s" for seconds`,
		`{"mcpServers": {"x": {"command": "c", "timeout": "60"}}}`:                                      `mcp.json: server "x": timeout: "60" is no time; write "60s" or "2m"`,
		`{"mcpServers": {"x": {"command": "c", "timeout": "1s", "tool_timeout_sec": 1}}}`:               `mcp.json: server "x": has both "timeout" and "tool_timeout_sec": keep one`,
		`{"mcpServers": {"x": {"command": "c", "enabled": true, "disabled": true}}}`:                    `mcp.json: server "x": has both "enabled" and "disabled": keep one`,
		`{"mcpServers": {"x": {"command": "c", "includeTools": ["a"], "allowedTools": ["b"]}}}`:         `mcp.json: server "x": has both "allowedTools" and "includeTools", which mean the same`,
		`{"mcpServers": {"x": {"command": "c", "sandboxEnabled": true}}}`:                               `mcp.json: server "x": "sandboxEnabled" is not supported: wrap the command`,
		`{"mcpServers": {"x": {"url": "http://h", "oauth": {}}}}`:                                       `mcp.json: server "x": "oauth" is not supported: it needs a browser`,
		`{"mcpServers": {"x": {"url": "http://h", "bearer_token": "t"}}}`:                               `mcp.json: server "x": "bearer_token" is not supported: it is written "headers"`,
		`{"mcpServers": {"x": {"url": "http://h", "args": ["a"]}}}`:                                     `mcp.json: server "x": has a "url" and also args`,
		`{"mcpServers": {"x": {"command": "c", "headers": {"A": "b"}}}}`:                                `mcp.json: server "x": headers: only a server with a "url" has them`,
		`{"mcpServers": {"x": {"url": "http://u:p@h"}}}`:                                                `mcp.json: server "x": url: has a password in it`,
		`{"mcpServers": {"x": {"url": "http://h", "headers": {"Mcp-Session-Id": "b"}}}}`:                `mcp.json: server "x": headers: "Mcp-Session-Id" cannot be set`,
		`{"mcpServers": {"x": {"url": "http://h", "headers": {"A": "b\nC: d"}}}}`:                       `mcp.json: server "x": headers.A: has a control character`,
		`{"mcpServers": {"x": {"type": "http", "command": "c"}}}`:                                       `mcp.json: server "x": type: "http" has a "url", not a "command"`,
		`{"mcpServers": {"x": {"type": "ws", "url": "ws://c"}}}`:                                        `mcp.json: server "x": type: "ws" is none of stdio, http, sse`,
		`{"mcpServers": {"x": {"command": "c", "disabled_tools": ["[a"]}}}`:                             `mcp.json: server "x": disabled_tools: "[a" is no pattern`,
		`{"mcpServers": {"x": {"command": "c", "protocol": "2023-01-01"}}}`:                             `mcp.json: server "x": protocol: "2023-01-01" is none of 2026-07-28, 2025-11-25`,
		`{"mcpServers": {"x": {"command": "c", "envFile": "no-such-file"}}}`:                            `mcp.json: server "x": envFile: no-such-file: no such file`,
		`{"mcpServers": {"x": {"command": "c", "on_change": "shrug"}}}`:                                 `mcp.json: server "x": on_change: "shrug" is none of accept, keep, drop`,
		`{"mcpServers": {"x": {"command": "c", "parallel": 0}}}`:                                        `mcp.json: server "x": parallel: 0 is no whole number above 0`,
		`{"mcpServers": {"x": {"command": "${A"}}}`:                                                     `mcp.json: server "x": command: "${A" has no end`,
		`{"mcpServers": {"a": {"comand": "x"}, "b": {"urll": "x"}}}`:                                    `mcp.json: server "b": unknown key "urll" (did you mean "url"?)`,
		`{"mcpServers": {"x": {"command": "c", "env": {"A=B": "x"}}}}`:                                  `mcp.json: server "x": env: "A=B" is no name of a variable`,
		`{"mcpServers": {"x": {"command": "c", "serial": true, "supports_parallel_tool_calls": "no"}}}`: `mcp.json: server "x": supports_parallel_tool_calls: must be true or false`,
	} {
		_, err := Parse("mcp.json", []byte(text), env())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mcp.json")
	if _, err := Load(file, nil); err == nil || !strings.Contains(err.Error(), file+": no such file") || strings.Count(err.Error(), file) != 1 {
		t.Error(err)
	}
	if _, err := Load(filepath.Dir(file), nil); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Error(err)
	}
	if err := os.WriteFile(file, []byte(`{"mcpServers":{}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file, nil)
	if err != nil || len(c.Notes) != 1 || !strings.Contains(c.Notes[0], "chmod go-w") {
		t.Errorf("%+v %v", c, err)
	}
	if err := os.Truncate(file, 2<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file, nil); err == nil || !strings.Contains(err.Error(), "is larger than") {
		t.Error(err)
	}
}

// Equal keys share a child: whatever changes the child must change the key, and nothing else may.
func TestKey(t *testing.T) {
	base := ServerConfig{Name: "s", Command: "c", Args: []string{"a", "b"}, Env: map[string]string{"K": "v", "L": "w"}}
	seen := map[string]int{base.Key(): -1}
	for i, change := range []func(*ServerConfig){
		func(s *ServerConfig) { s.Name = "t" }, func(s *ServerConfig) { s.Command = "d" }, func(s *ServerConfig) { s.Args = []string{"a b"} },
		func(s *ServerConfig) { s.Args = []string{"a\" \"b"} }, func(s *ServerConfig) { s.Env = map[string]string{"K": "v2", "L": "w"} },
		func(s *ServerConfig) { s.EnvVars = []string{"X"} }, func(s *ServerConfig) { s.Unset = []string{"X"} }, func(s *ServerConfig) { s.Dir = "/" },
		func(s *ServerConfig) { s.Command, s.URL = "", "http://h" }, func(s *ServerConfig) { s.Headers = map[string]string{"A": "b"} },
		func(s *ServerConfig) { s.Protocol = "2025-06-18" }, func(s *ServerConfig) { s.Parallel = 1 }, func(s *ServerConfig) { s.StartTimeout = time.Second },
		func(s *ServerConfig) { s.OnChange = "keep" }, func(s *ServerConfig) { s.Type = "stdio" },
	} {
		s := base
		change(&s)
		if was, dup := seen[s.Key()]; dup {
			t.Errorf("change %d has the key of %d", i, was)
		}
		seen[s.Key()] = i
	}
	same := base
	same.Env = map[string]string{"L": "w", "K": "v"}
	same.Enabled, same.Disabled, same.Approve = []string{"x"}, []string{"y"}, []string{"z"}
	same.CallTimeout, same.MaxOutput, same.Required, same.Parallel = time.Second, 5, true, DefaultParallel
	if same.Key() != base.Key() {
		t.Error("what only the bridge looks at changes the key")
	}
}

func FuzzParse(f *testing.F) {
	readme, _ := os.ReadFile("testdata/readme.json")
	f.Add(string(readme))
	f.Add(`{"servers":{"a":{"url":"https://h","headers":{"A":"${B:-c}"},"timeout":"1s"}} /* x */ , }`)
	f.Add(`{"mcpServers":{"a":{"command":"c","env":{"A":null,"B":1},"tools":["*"],"serial":true,"cwd":".."}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("mcp.json", []byte(text), env("B=b"))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "mcp.json:") {
				t.Errorf("no file in %q", err)
			}
			return
		}
		for i, s := range c.Servers {
			if err := s.Check(); err != nil {
				t.Errorf("passed, but %v", err)
			}
			if i > 0 && c.Servers[i-1].Name >= s.Name {
				t.Error("not sorted")
			}
			s.Key()
		}
	})
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"${A}", "$${A}", "${env:A:-b}", "a${", "${${A}}", "$$${A}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out, err := expand(s, env("A=${B}"))
		if err == nil && !strings.Contains(s, "${") && out != s {
			t.Errorf("%q became %q", s, out)
		}
	})
}
