package mcpbridge

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// draft is a server's object while it is read.
type draft struct {
	ServerConfig
	on    bool
	dir   string // where relative paths begin
	env   func(string) (string, bool)
	given map[string]string // member → the alias that was written
	file  map[string]string // what envFile says
	notes []string
}

// members are the names that mcp.json files of other programs use, each with what reads it.
var members = map[string]func(d *draft, key string, raw jsontext.Value) error{
	"type":                         (*draft).setType,
	"command":                      text(func(d *draft) *string { return &d.Command }),
	"args":                         texts(func(d *draft) *[]string { return &d.Args }, true),
	"env":                          (*draft).setEnv,
	"cwd":                          (*draft).setDir,
	"envFile":                      (*draft).setEnvFile,
	"env_vars":                     texts(func(d *draft) *[]string { return &d.EnvVars }, false),
	"url":                          text(func(d *draft) *string { return &d.URL }),
	"headers":                      (*draft).setHeaders,
	"protocol":                     text(func(d *draft) *string { return &d.Protocol }),
	"enabled_tools":                texts(func(d *draft) *[]string { return &d.Enabled }, false),
	"disabled_tools":               texts(func(d *draft) *[]string { return &d.Disabled }, false),
	"approve":                      texts(func(d *draft) *[]string { return &d.Approve }, false),
	"on_change":                    text(func(d *draft) *string { return &d.OnChange }),
	"timeout":                      (*draft).setTimeout,
	"tool_timeout_sec":             seconds(func(d *draft) *time.Duration { return &d.CallTimeout }),
	"startup_timeout_sec":          seconds(func(d *draft) *time.Duration { return &d.StartTimeout }),
	"max_output":                   count(func(d *draft) *int { return &d.MaxOutput }),
	"parallel":                     count(func(d *draft) *int { return &d.Parallel }),
	"serial":                       boolean(func(d *draft, yes bool) { d.limit(yes) }),
	"supports_parallel_tool_calls": boolean(func(d *draft, yes bool) { d.limit(!yes) }),
	"required":                     boolean(func(d *draft, yes bool) { d.Required = yes }),
	"enabled":                      boolean(func(d *draft, yes bool) { d.on = yes }),
	"disabled":                     boolean(func(d *draft, yes bool) { d.on = !yes }),
}

// aliases are other programs' spellings of a member.
var aliases = map[string]string{
	"transport": "type", "transportType": "type",
	"httpUrl": "url", "serverUrl": "url",
	"http_headers": "headers",
	"includeTools": "enabled_tools", "allowedTools": "enabled_tools", "tools": "enabled_tools",
	"excludeTools": "disabled_tools", "disabledTools": "disabled_tools",
}

// types are the spellings of "type".
var types = map[string]string{
	"stdio": "stdio", "sse": "sse",
	"http": "http", "streamable-http": "http", "streamable_http": "http", "streamableHttp": "http",
}

// idle members are for the programs they come from.
var idle = []string{"autoApprove", "alwaysAllow", "trust", "description", "name", "icon", "version", "gallery", "dev",
	"$comment", "displayName", "title"}

// refused members cannot be obeyed here, and to drop them would weaken what their author meant.
var refused = map[string]string{
	"inputs":               "asks a person, and here there is none: use ${VAR}",
	"oauth":                `needs a browser: write the token as "headers": {"Authorization": "Bearer ${TOKEN}"}`,
	"auth":                 `needs a browser: write the token as "headers": {"Authorization": "Bearer ${TOKEN}"}`,
	"bearer_token":         `is written "headers": {"Authorization": "Bearer ${TOKEN}"}`,
	"bearer_token_env_var": `is written "headers": {"Authorization": "Bearer ${TOKEN}"}`,
	"env_http_headers":     `is written "headers": {"Name": "${VAR}"}`,
}

// member reads one member of a server's object.
func (d *draft) member(key string, raw jsontext.Value) error {
	name := orElse(aliases[key], key)
	if set, ok := members[name]; ok {
		if first, twice := d.given[name]; twice {
			return fmt.Errorf("has both %q and %q, which mean the same", first, key)
		}
		d.given[name] = key
		return set(d, key, raw)
	}
	if slices.Contains(idle, key) {
		d.notes = append(d.notes, fmt.Sprintf("%q has no effect here", key))
		return nil
	}
	if strings.HasPrefix(key, "sandbox") {
		return fmt.Errorf("%q is not supported: wrap the command, as in {\"command\": \"docker\", \"args\": [\"run\", \"-i\", \"--rm\", …]}", key)
	}
	if why, ok := refused[key]; ok {
		return fmt.Errorf("%q is not supported: it %s", key, why)
	}
	known := slices.Concat(slices.Collect(maps.Keys(members)), slices.Collect(maps.Keys(aliases)))
	slices.Sort(known)
	return fmt.Errorf("unknown key %q%s", key, meant(key, known))
}

// finish is what needs more than one member.
func (d *draft) finish() error {
	a, isEnabled := d.given["enabled"]
	b, isDisabled := d.given["disabled"]
	if isEnabled && isDisabled {
		return fmt.Errorf("has both %q and %q: keep one", a, b)
	}
	if !d.on {
		d.notes = append(d.notes, "is switched off")
	}
	for k, v := range d.file {
		if _, set := d.Env[k]; !set && !slices.Contains(d.Unset, k) {
			if d.Env == nil {
				d.Env = map[string]string{}
			}
			d.Env[k] = v
		}
	}
	if d.URL != "" && (d.given["args"] != "" || d.given["env"] != "" || d.given["cwd"] != "" || d.given["envFile"] != "" || d.given["env_vars"] != "") {
		if d.Command == "" {
			return errors.New(`has a "url" and also args, env, env_vars, cwd or envFile, which only a "command" can have`)
		}
	}
	return nil
}

func (d *draft) setType(key string, raw jsontext.Value) error {
	s, err := str(key, raw)
	if err != nil {
		return err
	}
	t, ok := types[s]
	if !ok {
		return fmt.Errorf("%s: %q is none of stdio, http, sse", key, s)
	}
	d.Type = t
	return nil
}

func (d *draft) setEnv(key string, raw jsontext.Value) error {
	var m map[string]jsontext.Value
	if raw.Kind() != '{' || json.Unmarshal(raw, &m) != nil {
		return fmt.Errorf(`%s: must be an object: {"NAME": "value"}`, key)
	}
	d.Env = map[string]string{}
	for _, k := range slices.Sorted(keys(m)) {
		v := m[k]
		switch v.Kind() {
		case 'n': // VS Code: null removes the variable
			d.Unset = append(d.Unset, k)
		case '0':
			d.Env[k] = v.String()
		case '"':
			s, err := d.expand(key+"."+k, v)
			if err != nil {
				return err
			}
			d.Env[k] = s
		default:
			return fmt.Errorf("%s.%s: must be a text", key, k)
		}
	}
	return nil
}

func (d *draft) setHeaders(key string, raw jsontext.Value) error {
	var m map[string]jsontext.Value
	if raw.Kind() != '{' || json.Unmarshal(raw, &m) != nil {
		return fmt.Errorf(`%s: must be an object: {"Name": "value"}`, key)
	}
	d.Headers = map[string]string{}
	for _, k := range slices.Sorted(keys(m)) {
		s, err := d.expand(key+"."+k, m[k])
		if err != nil {
			return err
		}
		d.Headers[k] = s
	}
	return nil
}

func (d *draft) setDir(key string, raw jsontext.Value) error {
	s, err := d.expand(key, raw)
	if err != nil {
		return err
	}
	d.Dir = d.path(s)
	return nil
}

func (d *draft) setEnvFile(key string, raw jsontext.Value) error {
	s, err := d.expand(key, raw)
	if err != nil {
		return err
	}
	d.file, err = readEnvFile(d.path(s))
	if err != nil {
		return fmt.Errorf("%s: %s: %w", key, s, err)
	}
	return nil
}

func (d *draft) path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(d.dir, p)
}

// setTimeout takes the unit that the text names. Clients disagree about the unit of a bare number: to Claude Code it is
// milliseconds, to Cline seconds. So a number that could be seconds is refused, not guessed.
func (d *draft) setTimeout(key string, raw jsontext.Value) error {
	if raw.Kind() == '0' {
		ms, err := number(key, raw)
		if err != nil {
			return err
		}
		if ms < 1000 {
			return fmt.Errorf("%s: %v would be %v ms; write \"%vs\" for seconds", key, ms, ms, ms)
		}
		d.CallTimeout = time.Duration(ms * float64(time.Millisecond))
		return nil
	}
	s, err := str(key, raw)
	if err != nil {
		return fmt.Errorf(`%s: must be a text as "60s", or a number of milliseconds`, key)
	}
	d.CallTimeout, err = time.ParseDuration(s)
	if err != nil || d.CallTimeout <= 0 {
		return fmt.Errorf(`%s: %q is no time; write "60s" or "2m"`, key, s)
	}
	return nil
}

func (d *draft) limit(serial bool) {
	if serial {
		d.Parallel = 1
	}
}

func text(field func(*draft) *string) func(*draft, string, jsontext.Value) error {
	return func(d *draft, key string, raw jsontext.Value) (err error) {
		*field(d), err = d.expand(key, raw)
		return err
	}
}

// texts reads a list of texts; expand says whether ${VAR} is filled in.
func texts(field func(*draft) *[]string, expand bool) func(*draft, string, jsontext.Value) error {
	return func(d *draft, key string, raw jsontext.Value) error {
		var list []jsontext.Value
		if raw.Kind() != '[' || json.Unmarshal(raw, &list) != nil {
			return fmt.Errorf(`%s: must be a list of texts: ["…"]`, key)
		}
		for i, v := range list {
			where := fmt.Sprintf("%s[%d]", key, i)
			s, err := str(where, v)
			if err == nil && expand {
				s, err = d.expand(where, v)
			}
			if err != nil {
				return err
			}
			*field(d) = append(*field(d), s)
		}
		return nil
	}
}

func boolean(set func(*draft, bool)) func(*draft, string, jsontext.Value) error {
	return func(d *draft, key string, raw jsontext.Value) error {
		if k := raw.Kind(); k != 't' && k != 'f' {
			return fmt.Errorf("%s: must be true or false", key)
		}
		set(d, raw.Kind() == 't')
		return nil
	}
}

func seconds(field func(*draft) *time.Duration) func(*draft, string, jsontext.Value) error {
	return func(d *draft, key string, raw jsontext.Value) error {
		if field(d) == &d.CallTimeout && d.given["timeout"] != "" {
			return fmt.Errorf(`has both "timeout" and %q: keep one`, key)
		}
		s, err := number(key, raw)
		if err != nil {
			return err
		}
		if s <= 0 || s > 24*60*60 {
			return fmt.Errorf("%s: %v is no number of seconds between 0 and a day", key, s)
		}
		*field(d) = time.Duration(s * float64(time.Second))
		return nil
	}
}

func count(field func(*draft) *int) func(*draft, string, jsontext.Value) error {
	return func(d *draft, key string, raw jsontext.Value) error {
		n, err := number(key, raw)
		if err != nil {
			return err
		}
		if n < 1 || n > 1<<30 || n != math.Trunc(n) {
			return fmt.Errorf("%s: %v is no whole number above 0", key, n)
		}
		if field(d) == &d.Parallel && d.Parallel == 1 && n != 1 {
			return fmt.Errorf("%s: is 1 where calls are serial", key)
		}
		*field(d) = int(n)
		return nil
	}
}

func str(key string, raw jsontext.Value) (string, error) {
	var s string
	if raw.Kind() != '"' || json.Unmarshal(raw, &s) != nil {
		return "", fmt.Errorf("%s: must be a text", key)
	}
	return s, nil
}

func number(key string, raw jsontext.Value) (float64, error) {
	f, err := strconv.ParseFloat(raw.String(), 64)
	if raw.Kind() != '0' || err != nil {
		return 0, fmt.Errorf("%s: must be a number", key)
	}
	return f, nil
}

// isEmpty reports whether raw is null or an empty list or object.
func isEmpty(raw jsontext.Value) bool {
	return raw.Kind() == 'n' || slices.Contains([]string{"[]", "{}"}, strings.Join(strings.Fields(raw.String()), ""))
}

func keys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }

// readEnvFile reads lines NAME=value: `export` before, quotes around and # comments are allowed, as in Docker's and
// Node's .env files. ${VAR} is not filled in.
func readEnvFile(path string) (map[string]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, underlying(err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxConfigFile {
		return nil, errors.New("is not a small file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, underlying(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigFile))
	if err != nil {
		return nil, underlying(err)
	}
	vars := map[string]string{}
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "export "))
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, fmt.Errorf("line %d: is not NAME=value", i+1)
		}
		vars[strings.TrimSpace(name)] = unquote(strings.TrimSpace(value))
	}
	return vars, nil
}

func unquote(v string) string {
	if len(v) >= 2 && (v[0] == '"' || v[0] == '\'') {
		if end := strings.IndexByte(v[1:], v[0]); end >= 0 {
			return v[1 : 1+end]
		}
	}
	v, _, _ = strings.Cut(v, " #")
	return strings.TrimSpace(v)
}
