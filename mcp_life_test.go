package chat2response

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"

	"github.com/labiium/chat2response/internal/fakeopenai"
)

// serveStdio is an MCP server on standard input and output, in a process of its own.
func serveStdio() {
	s := mcpserver.NewMCPServer("stdio", "1", mcpserver.WithToolCapabilities(true))
	s.AddTool(mcp.NewTool("pid"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText(fmt.Sprint("pid ", os.Getpid())), nil
	})
	s.AddTool(mcp.NewTool("env", mcp.WithString("name")), func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText("is " + os.Getenv(r.GetString("name", ""))), nil
	})
	_ = mcpserver.ServeStdio(s) // it ends with its input
}

// stdio is a line of a Caddyfile for such a server.
func stdio(more string) string {
	return "mcp child " + os.Args[0] + " mcp-server {\nenv GORACE atexit_sleep_ms=0\n" + more + "\n}"
}

// callOnce has the model call one tool and returns what it was told.
func callOnce(t *testing.T, g *gateway, tool, args string) string {
	t.Helper()
	a := g.post("/v1/responses", fmt.Sprintf(`{"model":"demo","input":%q}`, tool+" "+args))
	resp := finalResponse(t, a, false)
	for i := range 3 {
		if dig(resp, "output", i, "type") == "mcp_call" {
			text, _ := dig(resp, "output", i, "output").(string)
			return text
		}
	}
	t.Fatalf("no call: %s", a.body)
	return ""
}

// TestMCPReload: servers that a reload leaves unchanged go on, others end; nothing is
// left over after many; and a check of a configuration starts nothing.
func TestMCPReload(t *testing.T) {
	_, addr := fake(t, fakeopenai.Options{Scenario: "demo", APIs: []fakeopenai.API{fakeopenai.Chat}})
	site := func(more, server string) string {
		return "chat2response " + addr + " {\nmode chat\n" + more + stdio(server) + "\n}"
	}
	g := start(t, site("", ""))
	settled(t)
	first := callOnce(t, g, "child_pid", "{}")
	reloads := 100
	if testing.Short() {
		reloads = 20
	}
	goroutines, files := -1, -1
	for i := range reloads {
		g.load(site(fmt.Sprintf("max_body %dMiB\n", i+1), ""))
		if i == 9 { // Caddy's own pools have settled
			goroutines, files = settle(t)
		}
	}
	if got := callOnce(t, g, "child_pid", "{}"); got != first {
		t.Errorf("the server was %s and is %s", first, got)
	}
	if n, f := settle(t); n > goroutines+3 || f > files+3 {
		t.Errorf("after %d reloads %d goroutines and %d descriptors, %d and %d before", reloads, n, f, goroutines, files)
	}
	g.load(site("", "env CHANGED 1"))
	settled(t)
	second := callOnce(t, g, "child_pid", "{}")
	if second == first {
		t.Error("a server with another environment is the same process")
	}
	pid := strings.TrimPrefix(first, "pid ")
	eventually(t, "the old server has ended", func() bool { return !processAlive(pid) })

	if _, err := caddyValidate(t, adapt(t, ":8088 {\n"+site("", "env ONLY_CHECKED 1")+"\n}")); err != nil {
		t.Error(err)
	}
	if n := childrenNamed(t, "ONLY_CHECKED=1"); n != 0 {
		t.Errorf("a check of the configuration has started %d servers", n)
	}
	if err := g.tryLoad(site("", "bad_option")); err == nil {
		t.Error("a bad option was taken")
	}
	if got := callOnce(t, g, "child_pid", "{}"); got != second {
		t.Errorf("a reload that failed has changed the server from %s to %s", second, got)
	}
}

// settle counts goroutines and descriptors, when those that end have ended.
func settle(t *testing.T) (goroutines, files int) {
	t.Helper()
	client.CloseIdleConnections()
	for range 20 {
		n := runtime.NumGoroutine()
		time.Sleep(20 * time.Millisecond)
		if runtime.NumGoroutine() >= n {
			break
		}
	}
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return runtime.NumGoroutine(), 0
	}
	return runtime.NumGoroutine(), len(all)
}

func processAlive(pid string) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	_, state, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(state, "Z")
}

// childrenNamed counts the processes that have a variable in their environment.
func childrenNamed(t *testing.T, variable string) (n int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil || len(all) == 0 {
		t.Skip("no /proc here")
	}
	for _, file := range all {
		if b, err := os.ReadFile(file); err == nil && strings.Contains("\x00"+string(b), "\x00"+variable+"\x00") {
			n++
		}
	}
	return n
}

// TestMCPEnvironment: a server does not see the gateway's secrets.
func TestMCPEnvironment(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "sk-secret")
	t.Setenv("CHAT2RESPONSE_ADMIN_TOKEN", "an admin token of the gateway")
	t.Setenv("KIT_TOKEN", "a${b}c")
	_, addr := fake(t, fakeopenai.Options{Scenario: "demo", APIs: []fakeopenai.API{fakeopenai.Chat}})
	g := start(t, "chat2response "+addr+" {\nmode chat\n"+stdio("env GIVEN yes\nenv TOKEN {env.KIT_TOKEN}")+"\n}")
	settled(t)
	if err := g.tryLoad("chat2response " + addr + " {\nmode chat\n" + stdio("env TOKEN {env.NOT_SET_ANYWHERE}") + "\n}"); err == nil {
		t.Error("a placeholder that stands for nothing was taken")
	}
	for name, want := range map[string]string{"OPENAI_API_KEY": "is ", "CHAT2RESPONSE_ADMIN_TOKEN": "is ", "GIVEN": "is yes", "TOKEN": "is a${b}c"} {
		if got := callOnce(t, g, "child_env", `{"name":"`+name+`"}`); got != want {
			t.Errorf("%s %s", name, got)
		}
	}
}

// TestMCPRequired: a server that must be there and is not keeps a configuration from
// being loaded; the one that runs goes on.
func TestMCPRequired(t *testing.T) {
	_, addr := playing(t, turn{text: "Hi."})
	g := start(t, "chat2response "+addr+" {\nmode chat\n}")
	err := g.tryLoad("chat2response " + addr + " {\nmode chat\nmcp gone " + filepath.Join(t.TempDir(), "nothing") + " x {\nrequired\nstart_timeout 5s\n}\n}")
	if err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("loaded with %v", err)
	}
	if got := chatText(t, g.post("/v1/chat/completions", `{"model":"m",`+goOn+`}`), false); got.text != "Hi." {
		t.Errorf("%+v", got)
	}
}

// TestMCPNode is what the documentation tells a newcomer to try: an mcp.json with two
// servers of the npm registry, and a request that uses both.
func TestMCPNode(t *testing.T) {
	if testing.Short() {
		t.Skip("installs packages")
	}
	for _, program := range []string{"npm", "node"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not here")
		}
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	install := exec.Command("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", dir,
		"@modelcontextprotocol/server-filesystem@2026.8.31", "@modelcontextprotocol/server-memory@2026.8.31")
	if out, err := install.CombinedOutput(); err != nil {
		t.Skipf("npm: %v: %s", err, out)
	}
	shared := filepath.Join(dir, "shared")
	if err := os.Mkdir(shared, 0o755); err != nil {
		t.Fatal(err)
	}
	module := func(name string) string {
		return filepath.Join(dir, "node_modules", "@modelcontextprotocol", name, "dist", "index.js")
	}
	config := filepath.Join(dir, "mcp.json")
	if err := os.WriteFile(config, fmt.Appendf(nil, `{"mcpServers":{
		"filesystem":{"command":"node","args":[%q,%q]},
		"memory":{"command":"node","args":[%q],"env":{"MEMORY_FILE_PATH":%q}}}}`,
		module("server-filesystem"), shared, module("server-memory"), filepath.Join(dir, "memory.jsonl")), 0o600); err != nil {
		t.Fatal(err)
	}
	_, addr := fake(t, fakeopenai.Options{Scenario: "demo", APIs: []fakeopenai.API{fakeopenai.Chat}, Delay: time.Millisecond})
	g := start(t, "chat2response "+addr+" {\nmode chat\nmcp "+config+"\n}")
	settled(t)
	file := filepath.Join(shared, "hello.txt")
	question := fmt.Sprintf(`Please call filesystem_write_file {"path":%q,"content":"Hello from the model."} and `+
		`memory_create_entities {"entities":[{"name":"Ada","entityType":"person","observations":["likes engines"]}]}.`, file)
	a := g.post("/v1/chat/completions", fmt.Sprintf(`{"model":"demo","stream":true,"messages":[{"role":"user","content":%q}]}`, question))
	got := chatText(t, a, true)
	if a.status != http.StatusOK || got.finish != "stop" || got.calls != 0 || got.roles != 1 || !strings.Contains(got.text, "memory_create_entities says") {
		t.Errorf("%+v", got)
	}
	if b, err := os.ReadFile(file); string(b) != "Hello from the model." {
		t.Errorf("the file holds %q, %v", b, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "memory.jsonl")); !strings.Contains(string(b), "likes engines") {
		t.Errorf("the memory holds %q, %v", b, err)
	}
}

// TestMCPDemo: the demonstration offers the tools of an mcp.json too.
func TestMCPDemo(t *testing.T) {
	config, err := demoConfig(":0", "localhost:1", "testdata/mcp.json")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(config.AppsRaw["http"]), `"mcp":{"config":"testdata/mcp.json"}`) {
		t.Errorf("%s", config.AppsRaw["http"])
	}
}
