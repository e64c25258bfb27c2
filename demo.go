package chat2response

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/spf13/pflag"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/internal/dropin"
	"github.com/labiium/chat2response/internal/fakeopenai"
)

// demo runs a gateway in front of a demonstration model. It returns only if it could
// not start.
func demo(fs caddycmd.Flags) error {
	if others := demoIgnores(fs); len(others) > 0 {
		return fmt.Errorf("--demo takes --listen and an mcp.json, and would not look at %s", strings.Join(others, ", "))
	}
	if fs.NArg() > 1 {
		return fmt.Errorf("--demo takes one mcp.json, not %d arguments", fs.NArg())
	}
	listen := fs.String("listen")
	if err := demoFree(listen); err != nil {
		return err
	}
	caddy.TrapSignals()

	model, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go http.Serve(model, fakeopenai.New(fakeopenai.Options{
		Dialect: "generic", APIs: []fakeopenai.API{fakeopenai.Chat}, Scenario: "demo", Delay: 30 * time.Millisecond,
		Models: []string{"demo", "demo-mini"},
	}))

	cfg, err := demoConfig(listen, model.Addr().String(), fs.Arg(0))
	if err != nil {
		return err
	}
	if err := caddy.Run(cfg); err != nil {
		return err
	}
	fmt.Fprint(os.Stderr, demoText(listen))
	select {}
}

// demoIgnores are the flags given that say nothing to the demonstration.
func demoIgnores(fs caddycmd.Flags) (names []string) {
	fs.Visit(func(f *pflag.Flag) {
		if f.Name != "demo" && f.Name != "listen" {
			names = append(names, "--"+f.Name)
		}
	})
	return names
}

// demoListen is where the demonstration listens if nothing else is said: for who tries it, and nobody else.
const demoListen = "127.0.0.1:8088"

// demoFree checks an address to listen on, and that nobody listens there: with another process of the same user Caddy
// would share the port, and the demonstration model would answer half of a real gateway's requests.
func demoFree(listen string) error {
	_, port, err := net.SplitHostPort(listen)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 {
		return fmt.Errorf("--listen is %q, and must be an address such as %s or :8088", listen, demoListen)
	}
	return free("--listen", "", listen)
}

// demoConfig is the configuration of the demonstration: one site, one upstream.
// mcp is the name of an mcp.json, or "".
func demoConfig(listen, model, mcp string) (*caddy.Config, error) {
	handler := Handler{Upstreams: []*Upstream{{
		Mode: convert.Chat,
		HandleRaw: caddyconfig.JSONModuleObject(reverseproxy.Handler{
			Upstreams: reverseproxy.UpstreamPool{{Dial: model}},
		}, "handler", "reverse_proxy", nil),
	}}}
	if mcp != "" {
		handler.MCP = &MCP{Config: mcp}
	}
	route := caddyhttp.Route{HandlersRaw: []json.RawMessage{caddyconfig.JSONModuleObject(handler, "handler", "chat2response", nil)}}
	app := caddyhttp.App{Servers: map[string]*caddyhttp.Server{"demo": {
		Listen: []string{listen}, Routes: caddyhttp.RouteList{route},
		AutoHTTPS: &caddyhttp.AutoHTTPSConfig{Disabled: true}, Protocols: []string{"h1"},
	}}}
	off := false
	return &caddy.Config{
		Admin: &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: &off}},
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {
			BaseLog: caddy.BaseLog{Level: "WARN", EncoderRaw: caddyconfig.JSON(dropin.LogFilter(), nil)},
			Exclude: []string{"admin"}, // it warns that it is off
		}}},
		AppsRaw: caddy.ModuleMap{"http": caddyconfig.JSON(app, nil)},
	}, nil
}

// demoText says what to try.
func demoText(listen string) string {
	url := "http://localhost:8088"
	if host, port, err := net.SplitHostPort(listen); err == nil {
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			host = "localhost"
		}
		url = "http://" + net.JoinHostPort(host, port)
	}
	return fmt.Sprintf(`chat2response: a demonstration model is behind %[1]s. Try:

curl -N %[1]s/v1/responses -H 'Content-Type: application/json' -d '{"model":"demo","input":"Hello!","stream":true}'
curl -N %[1]s/v1/chat/completions -H 'Content-Type: application/json' -d '{"model":"demo","messages":[{"role":"user","content":"Hello!"}],"stream":true}'
curl -N %[1]s/proxy -H 'Content-Type: application/json' -d '{"model":"demo","messages":[{"role":"user","content":"Hello!"}],"stream":true}'

`, url)
}
