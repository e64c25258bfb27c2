package chat2response

import (
	"encoding/json"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/internal/doctor"
	"github.com/labiium/chat2response/internal/dropin"
)

// adapted is what the tests below look at of an adapted Caddyfile.
type adapted struct {
	Apps struct {
		HTTP struct {
			Servers map[string]struct {
				Listen []string
				Logs   *struct{}
				Routes []struct {
					Match []struct{ Host []string }
				}
			}
		}
	}
	Logging struct {
		Logs map[string]struct {
			Encoder struct {
				Format string
				Fields map[string]struct {
					Filter  string
					Actions []struct{ Type, Parameter, Value string }
				}
			}
		}
	}
}

func adaptedExamples(t *testing.T) map[string]adapted {
	sources := map[string]string{"doctor": (&doctor.Report{URL: "http://localhost:8000/v1", Mode: convert.Chat, Dialect: "vllm"}).Caddyfile()}
	files, _ := filepath.Glob("examples/*.Caddyfile")
	for _, file := range files {
		sources[file] = readFile(t, file)
	}
	all := map[string]adapted{}
	for name, source := range sources {
		config, _, err := tryAdapt(source)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var a adapted
		if err := json.Unmarshal(config, &a); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[name] = a
	}
	return all
}

// loopback reports whether only programs of this machine reach a listener.
func loopback(listen string) bool {
	a, err := caddy.ParseNetworkAddress(listen)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(a.Host)
	return a.IsUnixNetwork() || err == nil && ip.IsLoopback()
}

// A1: a site's address is the Host that it serves, and no listener: an example that is meant for one machine says bind.
func TestExamplesListenWhereTheySay(t *testing.T) {
	local := 0
	for name, a := range adaptedExamples(t) {
		for _, server := range a.Apps.HTTP.Servers {
			var hosts []string
			for _, route := range server.Routes {
				for _, match := range route.Match {
					hosts = append(hosts, match.Host...)
				}
			}
			inside := len(hosts) > 0 && !slices.ContainsFunc(hosts, func(host string) bool {
				return !slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, host)
			})
			if !inside {
				continue
			}
			local++
			for _, listen := range server.Listen {
				if !loopback(listen) {
					t.Errorf("%s is for %v and listens on %s", name, hosts, listen)
				}
			}
		}
	}
	if local < 4 { // of ollama, mcp, server-key and doctor
		t.Errorf("only %d examples are for one machine", local)
	}
}

// A3: an example that logs keeps clients' keys out of the log, of what failed too.
func TestExamplesLogNoKeys(t *testing.T) {
	logging := 0
	for name, a := range adaptedExamples(t) {
		for _, server := range a.Apps.HTTP.Servers {
			if server.Logs == nil {
				continue
			}
			logging++
			for log, l := range a.Logging.Logs {
				for _, header := range dropin.SecretHeaders {
					if f := l.Encoder.Fields["request>headers>"+header]; l.Encoder.Format != "filter" || f.Filter != "delete" {
						t.Errorf("%s: the log %q has the header %s", name, log, header)
					}
				}
				for _, parameter := range dropin.SecretParameters {
					if !slices.ContainsFunc(l.Encoder.Fields["request>uri"].Actions, func(a struct{ Type, Parameter, Value string }) bool {
						return a.Type == "replace" && a.Parameter == parameter
					}) {
						t.Errorf("%s: the log %q has the parameter %s", name, log, parameter)
					}
				}
			}
			if _, ok := a.Logging.Logs["default"]; !ok {
				t.Errorf("%s: the default log, which has what failed, is not filtered", name)
			}
		}
	}
	if logging < 2 {
		t.Errorf("only %d examples log", logging)
	}
}
