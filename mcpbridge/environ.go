package mcpbridge

import (
	"regexp"
	"slices"
	"strings"
)

// inherited are the gateway's variables that a child sees without being asked for: what programs need to run at all.
// Everything else, the keys of the models' providers before all, stays with the gateway.
var inherited = []string{
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS",
	// Windows
	"SystemRoot", "SystemDrive", "ComSpec", "PATHEXT", "TEMP", "TMP", "APPDATA", "LOCALAPPDATA", "USERPROFILE",
	"ProgramFiles", "ProgramData",
}

// environ is the whole environment of a child.
func environ(s *ServerConfig, env func(string) (string, bool)) []string {
	var out []string
	for _, name := range slices.Concat(inherited, s.EnvVars) {
		if _, set := s.Env[name]; set || slices.Contains(s.Unset, name) {
			continue
		}
		if v, ok := env(name); ok {
			out = append(out, name+"="+v)
		}
	}
	for _, name := range slices.Sorted(keys(s.Env)) {
		out = append(out, name+"="+s.Env[name])
	}
	return slices.Compact(out)
}

var secretName = regexp.MustCompile(`(?i)key|token|secret|passw|auth|credential|cookie|dsn|database_url`)

// redactor hides the values of a server's secrets in what it prints.
func redactor(s *ServerConfig, env func(string) (string, bool)) *strings.Replacer {
	var pairs []string
	hide := func(name, v string) {
		if len(v) >= 6 && secretName.MatchString(name) {
			pairs = append(pairs, v, "[redacted]")
		}
	}
	for _, k := range slices.Sorted(keys(s.Env)) {
		hide(k, s.Env[k])
	}
	for _, k := range s.EnvVars {
		if v, ok := env(k); ok {
			hide(k, v)
		}
	}
	for _, v := range s.Headers {
		// A header is "Bearer <token>" more often than not.
		for _, word := range strings.Fields(v) {
			hide("key", word)
		}
	}
	return strings.NewReplacer(pairs...)
}
