package chat2response

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

var update = flag.Bool("update", false, "rewrite the expected part of the files in testdata")

const divider = "----------\n"

// TestAdapt: each file in testdata/adapt is a Caddyfile, a line of dashes, and the
// JSON that it becomes or the error that it is.
func TestAdapt(t *testing.T) {
	t.Setenv("CHAT2RESPONSE_ADMIN_TOKEN", "a token of more than 24 bytes")
	t.Setenv("STATE_KEY", "0123456789abcdef")
	t.Setenv("OLD_STATE_KEY", "fedcba9876543210")
	for _, name := range []string{"KEY", "UPSTREAM", "MODEL", "HOST", "REDIS_PASSWORD"} { // of the fixtures
		t.Setenv(name, "x")
	}
	for _, file := range fixtures(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			source, want := readFixture(t, file)
			got, warnings, err := tryAdapt(source)
			if len(warnings) > 0 {
				t.Errorf("warnings: %v", warnings)
			}
			if err == nil {
				if _, err := caddyValidate(t, got); err != nil {
					t.Errorf("it adapts and does not load: %v", err)
				}
				var b bytes.Buffer
				json.Indent(&b, got, "", "\t")
				got = b.Bytes()
			} else {
				got = []byte(err.Error())
			}
			if *update {
				os.WriteFile(file, []byte(source+divider+string(got)+"\n"), 0o644)
				return
			}
			if string(got) != strings.TrimSuffix(want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func fixtures(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatal("no fixtures", err)
	}
	return files
}

func readFixture(t *testing.T, file string) (source, want string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	source, want, _ = strings.Cut(string(b), divider)
	return source, want
}

// caddyValidate does what `caddy validate` does: Provision, Validate, Cleanup. It
// returns the storage's directory.
func caddyValidate(t *testing.T, config []byte) (dir string, err error) {
	t.Helper()
	var cfg caddy.Config
	if err := json.Unmarshal(config, &cfg); err != nil {
		return "", err
	}
	dir = filepath.Join(t.TempDir(), "storage")
	cfg.StorageRaw, _ = json.Marshal(map[string]string{"module": "file_system", "root": dir})
	cfg.Logging = quiet
	return dir, caddy.Validate(&cfg)
}

var quiet = &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output":"discard"}`)}}}}

// TestEveryOptionHasAFixture: an option whose JSON name is in no fixture's JSON is
// one that nobody has tried.
func TestEveryOptionHasAFixture(t *testing.T) {
	var all strings.Builder
	for _, file := range fixtures(t) {
		_, want := readFixture(t, file)
		if json.Valid([]byte(want)) {
			all.WriteString(want)
		}
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[Handler](), reflect.TypeFor[Upstream](), reflect.TypeFor[Keys]()} {
		for i := range typ.NumField() {
			f := typ.Field(i)
			if !f.IsExported() {
				continue
			}
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" || !strings.Contains(all.String(), `"`+name+`":`) {
				t.Errorf("%s.%s, %q in JSON, is in no fixture", typ.Name(), f.Name, name)
			}
		}
	}
}

// TestRequestBuffers (M4): reverse_proxy keeps no copies of bodies, which would be on
// nobody's account, unless the configuration says so.
func TestRequestBuffers(t *testing.T) {
	for options, want := range map[string]any{
		"":                                    nil,
		"lb_policy first":                     nil,
		"to b:1":                              nil,
		"lb_try_duration 1s":                  nil,
		"lb_retries 2\nmax_body 1MiB":         nil,
		"request_buffers 5MiB\nmax_body 1MiB": 5.0 * (1 << 20),
		"upstream a {\n to b:1\n}\nto c:1\nmax_body 1MiB\n": nil,
	} {
		config, _, err := tryAdapt(":1 {\n chat2response a:1 {\n" + options + "\n}\n}")
		if err != nil {
			t.Fatal(err)
		}
		upstreams := dig(object(t, config), "apps", "http", "servers", "srv0", "routes", 0, "handle", 0, "upstreams").([]any)
		if got := dig(upstreams[0], "handle", "request_buffers"); got != want {
			t.Errorf("%q: %v instead of %v", options, got, want)
		}
	}
}

// TestStartErrors: what only shows when the configuration is loaded. Each names
// the option and the way out.
func TestStartErrors(t *testing.T) {
	g := start(t, "respond hello")
	for options, want := range map[string]string{
		"api_key {env.CHAT2RESPONSE_UNSET}\nallow_anonymous": "api_key: evaluated placeholder {env.CHAT2RESPONSE_UNSET} is empty",
		"api_key {file./nonexistent/key}\nallow_anonymous":   "/nonexistent/key",
		"seal_key {env.CHAT2RESPONSE_UNSET}":                 "seal_key: ",
		"seal_key tooshort":                                  "seal_key: ",
		"api_key sk-x":                                       "allow_anonymous",
		"mode chat2":                                         `mode is "chat2", and must be responses or chat`,
		"reasoning_events loud":                              `reasoning_events is "loud", and must be summary, text or off`,
		"hosted_tools keep":                                  `hosted_tools is "keep", and must be refuse or drop`,
		"alias a*b*c d":                                      `alias "a*b*c" has more than one *`,
		"upstream * {\n to b:1\n}\nupstream gpt-* {\n to c:1\n}\nmode chat": "",
	} {
		err := g.tryLoad("chat2response a:1 {\n" + options + "\n}")
		if want == "" {
			if err != nil {
				t.Errorf("%q: %v", options, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", options, err)
		}
		if strings.Contains(options, "env.") && (err == nil || !strings.Contains(err.Error(), "CHAT2RESPONSE_UNSET")) {
			t.Errorf("%q: the error does not name the variable: %v", options, err)
		}
	}
	// JSON only.
	for handler, want := range map[string]string{
		`{"handler":"chat2response","max_body":-1}`:                                                                "max_body is -1, and must be positive",
		`{"handler":"chat2response","upstreams":[{"dialect":"nope"}]}`:                                             `dialect is "nope", and must be one of azure, `,
		`{"handler":"chat2response","upstreams":[{},{"mode":"chat"}]}`:                                             "upstream 0 matches every model, so those behind it are never used",
		`{"handler":"chat2response","upstreams":[{"handle":{"handler":"none"}}]}`:                                  "upstream 0: loading the handler",
		`{"handler":"chat2response","upstreams":[{"api_key":"a\nb"}],"allow_anonymous":true}`:                      "api_key has a line end in it",
		`{"handler":"chat2response","upstreams":[null]}`:                                                           "upstream 0 is null",
		`{"handler":"chat2response","unknown":1}`:                                                                  "unknown",
		`{"handler":"chat2response","upstreams":[{"handle":{"handler":"static_response","body":"x"}}]}`:            "",
		`{"handler":"chat2response","upstreams":[{"base_path":""}],"keep_alive":-1,"seal_key":"0123456789abcdef"}`: "",
	} {
		_, err := caddyValidate(t, []byte(`{"apps":{"http":{"servers":{"s":{"listen":[":1"],"routes":[{"handle":[`+handler+`]}]}}}}}`))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", handler, err)
		}
	}
}

// TestValidateOpensNothing, and starting does: the key is made once, and a reload
// does not make another.
func TestValidateOpensNothing(t *testing.T) {
	config, _, err := tryAdapt("{\n admin off\n auto_https off\n persist_config off\n}\nhttp://:" + port(freeAddr(t)) + " {\n bind 127.0.0.1\n chat2response localhost:1\n}")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := caddyValidate(t, config)
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err == nil {
		t.Errorf("validating has left %v", entries)
	}

	var cfg map[string]any
	json.Unmarshal(config, &cfg)
	cfg["storage"] = map[string]string{"module": "file_system", "root": dir}
	cfg["logging"] = quiet
	defer caddy.Stop()
	var first []byte
	for i := range 3 {
		cfg["admin"].(map[string]any)["listen"] = "localhost:" + string(rune('1'+i)) // else Caddy sees no change
		b, _ := json.Marshal(cfg)
		if err := caddy.Load(b, true); err != nil {
			t.Fatal(err)
		}
		secret, err := os.ReadFile(filepath.Join(dir, "chat2response", "seal.key"))
		if err != nil || len(secret) < 16 {
			t.Fatalf("%d bytes, %v", len(secret), err)
		}
		if first == nil {
			first = secret
		}
		if !bytes.Equal(first, secret) {
			t.Error("a reload makes another key")
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "chat2response", "seal.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}

	// With a key of its own the handler leaves the storage alone.
	other := t.TempDir()
	cfg["storage"] = map[string]string{"module": "file_system", "root": other}
	dig(cfg, "apps", "http", "servers", "srv0", "routes", 0, "handle", 0).(map[string]any)["seal_key"] = "0123456789abcdef"
	b, _ := json.Marshal(cfg)
	if err := caddy.Load(b, true); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(other, "chat2response")); err == nil {
		t.Error("a key was stored that nobody uses")
	}
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// TestExamples adapt and validate.
func TestExamples(t *testing.T) {
	files, _ := filepath.Glob("examples/*.Caddyfile")
	if len(files) == 0 {
		t.Skip("there are no examples")
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := tryAdapt(string(source)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}
