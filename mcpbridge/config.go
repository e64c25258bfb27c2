package mcpbridge

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The defaults of a [ServerConfig].
const (
	DefaultStartTimeout = time.Minute // a cold `npx` takes ten seconds
	DefaultCallTimeout  = time.Minute
	DefaultParallel     = 16
	DefaultMaxOutput    = 64 << 10
)

const maxConfigFile = 1 << 20

// Config is the contents of an mcp.json.
type Config struct {
	// Servers are those that are switched on, sorted by name.
	Servers []ServerConfig
	// Notes are remarks for the log: members that have no effect here, servers that are switched off, a file that
	// others may write. [Bridge.Start] logs them.
	Notes []string
}

// ServerConfig is one MCP server: a command that is run, or a URL.
type ServerConfig struct {
	// Name is the key in mcp.json: any text but "".
	Name string
	// Type is "stdio", "http" (streamable HTTP) or "sse" (the transport of MCP 2024-11-05). Empty means stdio where
	// there is a Command; where there is a URL, http, and sse if the server refuses that.
	Type string

	// Command is the program of a stdio server, found in the gateway's PATH.
	Command string
	// Args are its arguments, without its name.
	Args []string
	// Dir is its working directory. Default: the gateway's.
	Dir string
	// Env are variables set for it. Of the gateway's own it gets a short list only (PATH, HOME, language, time zone,
	// temporary directory, certificates), so no secret of the gateway reaches it.
	Env map[string]string
	// EnvVars are names of further variables that it gets from the gateway's environment.
	EnvVars []string
	// Unset are names that it does not get although they are on the short list.
	Unset []string

	// URL of an http or sse server.
	URL string
	// Headers are sent with every request to URL, the closing DELETE among them.
	Headers map[string]string
	// Protocol pins the protocol version, as "2025-06-18". Default: the newest that both speak.
	Protocol string

	// Enabled are the tools offered, by their own names; `*` and `?` match as in a shell. Default: all.
	Enabled []string
	// Disabled are tools never offered. It wins over Enabled.
	Disabled []string
	// Approve are tools that somebody must agree to, call by call ([Tool.Approve]). The package only marks them.
	Approve []string

	// StartTimeout bounds starting, connecting and the first list. Default: [DefaultStartTimeout].
	StartTimeout time.Duration
	// CallTimeout bounds one call. Default: [DefaultCallTimeout].
	CallTimeout time.Duration
	// MaxOutput is the most text in bytes that one call's result has. Default: [DefaultMaxOutput].
	MaxOutput int
	// Parallel is the most calls at one time; others wait. Default: [DefaultParallel].
	Parallel int
	// Required makes [Bridge.Start] fail if this server cannot be connected.
	Required bool
	// OnChange says what becomes of a tool whose description or schema is no longer what it first was, which is how
	// a server that was once trusted turns: "accept" (the default) logs a warning, "keep" goes on with the first
	// definition, "drop" stops offering it.
	OnChange string
}

// Load reads the mcp.json at path. It takes the members that Claude, Cursor, VS Code, Codex, Gemini, Cline and LM
// Studio write, comments and trailing commas too. Every error names the file, the server, the member and the way out;
// all that are found are returned at once.
//
// env looks up the variables in ${VAR}; nil means the process's environment. It reads files and nothing else.
func Load(path string, env func(string) (string, bool)) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, underlying(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, underlying(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, underlying(err))
	}
	c, err := Parse(path, data, env)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o022 != 0 && os.PathSeparator == '/' {
		c.Notes = append(c.Notes, fmt.Sprintf("%s: can be written by others than its owner (mode %#o), who can so run commands as the gateway's user: chmod go-w", path, info.Mode().Perm()))
	}
	return c, nil
}

// Parse is [Load] with the file's contents at hand. file is its name in errors; its folder is where relative `cwd` and
// `envFile` begin.
func Parse(file string, data []byte, env func(string) (string, bool)) (*Config, error) {
	if env == nil {
		env = os.LookupEnv
	}
	if len(data) > maxConfigFile {
		return nil, fmt.Errorf("%s: is larger than %d bytes", file, maxConfigFile)
	}
	data = bare(data)
	var root map[string]jsontext.Value
	if err := json.Unmarshal(data, &root); err != nil {
		return nil, fmt.Errorf("%s%w", file, at(data, err))
	}
	servers, err := topLevel(root)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}

	c := new(Config)
	var failed []error
	names := make([]string, 0, len(servers))
	for name := range servers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		s, on, notes, err := readServer(name, servers[name], filepath.Dir(file), env)
		for _, n := range notes {
			c.Notes = append(c.Notes, fmt.Sprintf("%s: server %q: %s", file, name, n))
		}
		if err == nil {
			err = s.Check()
		} else {
			err = fmt.Errorf("server %q: %w", name, err)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", file, err))
		} else if on {
			c.Servers = append(c.Servers, s)
		}
	}
	if err := errors.Join(failed...); err != nil {
		return nil, err
	}
	return c, nil
}

// topLevel finds the servers in the file.
func topLevel(root map[string]jsontext.Value) (map[string]jsontext.Value, error) {
	known := []string{"mcpServers", "servers", "inputs", "$schema"}
	for _, k := range slices.Sorted(keys(root)) {
		if !slices.Contains(known, k) {
			return nil, fmt.Errorf("unknown key %q%s", k, meant(k, known))
		}
	}
	if raw, ok := root["inputs"]; ok && !isEmpty(raw) {
		return nil, errors.New(`"inputs" ask a person, and here there is none: write ${VAR} where ${input:…} stands, set VAR in the gateway's environment, and remove "inputs"`)
	}
	raw, mcp := root["mcpServers"]
	other, vscode := root["servers"]
	switch {
	case mcp && vscode:
		return nil, errors.New(`has both "mcpServers" and "servers": keep one`)
	case vscode:
		raw = other
	case !mcp:
		return nil, errors.New(`has no "mcpServers"; an empty file of servers is {"mcpServers": {}}`)
	}
	if raw.Kind() != '{' {
		return nil, errors.New(`"mcpServers" must be an object: {"name": {"command": …}}`)
	}
	var servers map[string]jsontext.Value
	return servers, json.Unmarshal(raw, &servers)
}

// readServer reads one server's object; on tells whether it is switched on.
func readServer(name string, raw jsontext.Value, dir string, env func(string) (string, bool)) (s ServerConfig, on bool, notes []string, err error) {
	d := &draft{dir: dir, env: env, on: true, given: map[string]string{}}
	d.Name = name
	if raw.Kind() != '{' {
		return s, false, nil, errors.New("must be an object")
	}
	var object map[string]jsontext.Value
	if err := json.Unmarshal(raw, &object); err != nil {
		return s, false, nil, err
	}
	var failed []error
	for _, key := range slices.Sorted(keys(object)) {
		failed = append(failed, d.member(key, object[key]))
	}
	failed = append(failed, d.finish())
	return d.ServerConfig, d.on, d.notes, errors.Join(failed...)
}

// Check reports what is wrong with s. [Parse] has called it; a caller that makes a ServerConfig itself should.
func (s *ServerConfig) Check() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("server %q: %w", s.Name, fmt.Errorf(format, args...))
	}
	remote := s.URL != ""
	switch {
	case s.Name == "":
		return errors.New(`a server's name is empty: write {"name": {…}}`)
	case s.Command != "" && remote:
		return fail(`has both "command" and "url"`)
	case s.Command == "" && !remote:
		return fail(`has neither "command" nor "url"`)
	case s.Type != "" && s.Type != "stdio" && s.Type != "http" && s.Type != "sse":
		return fail(`type: %q is none of stdio, http, sse`, s.Type)
	case s.Type == "stdio" && remote:
		return fail(`type: "stdio" has a "command", not a "url"`)
	case s.Type != "" && s.Type != "stdio" && !remote:
		return fail(`type: %q has a "url", not a "command"`, s.Type)
	case s.Protocol != "" && !slices.Contains(Protocols(), s.Protocol):
		return fail(`protocol: %q is none of %s`, s.Protocol, strings.Join(Protocols(), ", "))
	case s.OnChange != "" && s.OnChange != "accept" && s.OnChange != "keep" && s.OnChange != "drop":
		return fail(`on_change: %q is none of accept, keep, drop`, s.OnChange)
	case s.StartTimeout < 0 || s.CallTimeout < 0:
		return fail("timeout: must not be negative")
	case s.MaxOutput < 0:
		return fail("max_output: must not be negative")
	case s.Parallel < 0:
		return fail("parallel: must not be negative")
	}
	for key, globs := range map[string][]string{"enabled_tools": s.Enabled, "disabled_tools": s.Disabled, "approve": s.Approve} {
		for _, g := range globs {
			if _, err := path.Match(g, ""); err != nil || g == "" {
				return fail("%s: %q is no pattern", key, g)
			}
		}
	}
	if remote {
		return s.checkRemote(fail)
	}
	return s.checkStdio(fail)
}

func (s *ServerConfig) checkStdio(fail func(string, ...any) error) error {
	if len(s.Headers) > 0 {
		return fail(`headers: only a server with a "url" has them`)
	}
	for i, a := range append([]string{s.Command, s.Dir}, s.Args...) {
		if strings.ContainsRune(a, 0) {
			return fail("%s: has a NUL byte", [...]string{"command", "cwd", "args"}[min(i, 2)])
		}
	}
	for k, v := range s.Env {
		if k == "" || strings.ContainsAny(k, "=\x00") {
			return fail("env: %q is no name of a variable", k)
		}
		if strings.ContainsRune(v, 0) {
			return fail("env.%s: has a NUL byte", k)
		}
	}
	return nil
}

// ours are headers that the protocol sets (MCP 2025-11-25, basic/transports) or that belong to one connection.
var ours = []string{"Accept", "Connection", "Content-Length", "Content-Type", "Keep-Alive", "Last-Event-Id",
	"Mcp-Method", "Mcp-Name", "Mcp-Protocol-Version", "Mcp-Session-Id", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade"}

func (s *ServerConfig) checkRemote(fail func(string, ...any) error) error {
	u, err := url.Parse(s.URL)
	switch {
	case err != nil:
		return fail("url: %q is no URL", s.URL)
	case u.Scheme != "http" && u.Scheme != "https":
		return fail("url: %q is neither http nor https", u.Scheme)
	case u.Hostname() == "":
		return fail("url: %q names no host", s.URL)
	case u.User != nil:
		return fail(`url: has a password in it: write it as headers.Authorization, "Basic …"`)
	case len(s.Args) > 0 || len(s.Env) > 0 || len(s.EnvVars) > 0 || s.Dir != "":
		return fail(`args, env, env_vars, cwd and envFile: only a server with a "command" has them`)
	}
	for k, v := range s.Headers {
		canonical := http.CanonicalHeaderKey(k)
		if !token(k) || slices.Contains(ours, canonical) {
			return fail("headers: %q cannot be set", k)
		}
		if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return fail("headers.%s: has a control character, a line end perhaps", k)
		}
	}
	return nil
}

// token reports whether s is a header's name by RFC 9110 §5.6.2.
func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// Key identifies what of the configuration makes a running server: two configurations with equal keys can share one
// child or connection, so one that a reload leaves unchanged survives it. What only a [Bridge] looks at (which tools,
// the time and size of a call, Required) is not in it.
func (s *ServerConfig) Key() string {
	h := sha256.New()
	// %q separates texts for certain, and fmt sorts the keys of maps.
	fmt.Fprintf(h, "%q %q %q %q %q", s.Name, s.Type, s.Command, s.Dir, s.Args)
	fmt.Fprintf(h, "%q %q %q", s.Env, s.EnvVars, s.Unset)
	fmt.Fprintf(h, "%q %q %q %q", s.URL, s.Headers, s.Protocol, s.OnChange)
	fmt.Fprintf(h, "%d %d", s.startTimeout(), s.parallel())
	return hex.EncodeToString(h.Sum(nil))
}

func (s *ServerConfig) startTimeout() time.Duration {
	return orElse(s.StartTimeout, DefaultStartTimeout)
}
func (s *ServerConfig) callTimeout() time.Duration { return orElse(s.CallTimeout, DefaultCallTimeout) }
func (s *ServerConfig) maxOutput() int             { return orElse(s.MaxOutput, DefaultMaxOutput) }
func (s *ServerConfig) parallel() int              { return orElse(s.Parallel, DefaultParallel) }

// kind is Type with the empty one resolved.
func (s *ServerConfig) kind() string {
	switch {
	case s.Type != "":
		return s.Type
	case s.URL != "":
		return "http"
	}
	return "stdio"
}

// offers reports whether the tool is among those configured.
func (s *ServerConfig) offers(tool string) bool {
	return (len(s.Enabled) == 0 || matches(s.Enabled, tool)) && !matches(s.Disabled, tool)
}

// matches reports whether one of the globs matches name.
func matches(globs []string, name string) bool {
	return slices.ContainsFunc(globs, func(g string) bool {
		// `*` is to match any name, so what path.Match treats as a separator is hidden from it.
		ok, _ := path.Match(strings.ReplaceAll(g, "/", "\x01"), strings.ReplaceAll(name, "/", "\x01"))
		return ok
	})
}

func orElse[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// at puts the line and column of a JSON error before it, as ":12:5: ".
func at(data []byte, err error) error {
	var syntax *jsontext.SyntacticError
	if !errors.As(err, &syntax) {
		return fmt.Errorf(": must be an object: {%q: {…}}", "mcpServers")
	}
	before := data[:min(int(syntax.ByteOffset), len(data))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Errorf(":%d:%d: %w", line, column, syntax.Err)
}

// underlying removes the path that package os puts into its errors: the message has it already.
func underlying(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
