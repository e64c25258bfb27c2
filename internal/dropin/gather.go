package dropin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/joho/godotenv"
)

// Place is where the process is: what Gather reads besides the flags.
type Place struct {
	Env        func(name string) (string, bool) // such as os.LookupEnv
	Dir        string                           // the working directory
	Executable string                           // the program's own path; empty if it is not known
}

// Values are what is set, and where.
type Values struct {
	// File is the .env file that was read, or empty.
	File string

	values map[string]value
	extra  map[string]string // the other lines of File
}

type value struct {
	text   string
	source string // of messages: the flag, the variable's other name, or the file; empty for the variable itself
}

// Gather collects all settings: flags before variables before the .env file, whose
// other lines are variables too. flags holds those that were given, by [Setting.Flag].
func Gather(flags map[string]string, at Place) (*Values, error) {
	v := &Values{values: map[string]value{}}
	lines, err := v.dotenv(flags, at)
	if err != nil {
		return nil, err
	}
	for _, s := range Settings {
		if text, ok := flags[s.Flag]; ok {
			v.set(s.Var, text, "--"+s.Flag)
			continue
		}
		if v.lookup(s, at.Env, "") {
			continue
		}
		v.lookup(s, func(name string) (string, bool) { text, ok := lines[name]; return text, ok }, v.File)
	}
	v.extra = map[string]string{}
	for name, text := range lines {
		if _, set := at.Env(name); !set {
			v.extra[name] = text
		}
	}
	return v, nil
}

// lookup takes a setting from one place, under the first of its names that is not
// empty there.
func (v *Values) lookup(s Setting, env func(string) (string, bool), source string) bool {
	for _, name := range append([]string{s.Var}, s.Other...) {
		text, _ := env(name)
		if strings.TrimSpace(text) == "" {
			continue
		}
		from := source
		if name != s.Var {
			from = strings.TrimPrefix(from+", "+name, ", ")
		}
		v.set(s.Var, text, from)
		return true
	}
	return false
}

func (v *Values) set(name, text, source string) {
	v.values[name] = value{strings.TrimSpace(text), source}
}

// text is the value of a setting, or its default.
func (v *Values) text(name string) string {
	if text := v.values[name].text; text != "" {
		return text
	}
	return byVar(name).Default
}

// isSet tells whether a setting has a value of its own.
func (v *Values) isSet(name string) bool { return v.values[name].text != "" }

// Admin is the address of the admin socket, if one is set; empty if not, or if the
// socket is off.
func (v *Values) Admin() string {
	if addr := v.values["CHAT2RESPONSE_ADMIN_ADDR"].text; addr != "off" {
		return addr
	}
	return ""
}

// bad is an error about a setting: it names the variable, the value unless that is
// a secret, and without passwords, what it must be, and where it was found.
func (v *Values) bad(name, must string, args ...any) error {
	got := v.values[name]
	shown := fmt.Sprintf("%q", Shown(got.text))
	if byVar(name).Secret {
		shown = "not right (its value is not shown)"
	}
	where := ""
	if got.source != "" {
		where = " (from " + got.source + ")"
	}
	return fmt.Errorf("%s is %s%s: it must be %s", name, shown, where, fmt.Sprintf(must, args...))
}

// Environ are the variables that the process should have so that the Caddyfile
// finds what it refers to: what flags and the .env file have set.
func (v *Values) Environ() map[string]string {
	env := map[string]string{}
	for name, text := range v.extra {
		env[name] = text
	}
	for name, val := range v.values {
		env[name] = val.text
	}
	return env
}

// dotenv finds and reads the .env file: the one that is named, else the first that
// is there of .envfile and .env in the working directory, .env in the folders above,
// and .env beside the program and above it.
func (v *Values) dotenv(flags map[string]string, at Place) (map[string]string, error) {
	s := byVar("ENV_FILE")
	named := &Values{values: map[string]value{}}
	if text, ok := flags[s.Flag]; ok {
		named.set(s.Var, text, "--"+s.Flag)
	} else {
		named.lookup(*s, at.Env, "")
	}
	if named.isSet(s.Var) {
		lines, err := readFile(named.text(s.Var))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, named.bad(s.Var, "a file that exists")
		}
		v.File = named.text(s.Var)
		return lines, err
	}
	places := []string{filepath.Join(at.Dir, ".envfile")}
	places = append(places, upwards(at.Dir)...)
	if at.Executable != "" {
		places = append(places, upwards(filepath.Dir(at.Executable))...)
	}
	for _, path := range places {
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			continue
		}
		v.File = path
		return readFile(path)
	}
	return nil, nil
}

func upwards(dir string) []string {
	var paths []string
	for {
		paths = append(paths, filepath.Join(dir, ".env"))
		parent := filepath.Dir(dir)
		if parent == dir {
			return paths
		}
		dir = parent
	}
}

// readFile reads a .env file. What the parser says of a bad one is not repeated: it
// quotes the file, and there are secrets in it.
func readFile(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines, err := godotenv.Parse(f)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: every line must be NAME=value, and a quoted value must end", path)
	}
	return lines, nil
}
