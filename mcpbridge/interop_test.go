//go:build unix

package mcpbridge

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// install runs a package manager's command in dir, or skips the test.
func install(t *testing.T, dir string, command ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("%s: %v: %s", strings.Join(command[:2], " "), err, lastLine(out))
	}
}

func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

func need(t *testing.T, programs ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("installs packages")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not here", p)
		}
	}
}

// serve starts an HTTP server of another language and waits until it listens.
func serve(t *testing.T, port int, env []string, dir string, command ...string) {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s", out.String())
		}
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%v does not listen", command)
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// The reference servers, by the official TypeScript SDK, v1 and v2.
func TestInteropNPM(t *testing.T) {
	need(t, "npm", "node")
	dir := t.TempDir()
	install(t, dir, "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund",
		"@modelcontextprotocol/server-everything@2026.8.31", "@modelcontextprotocol/server-filesystem@2026.8.31",
		"@modelcontextprotocol/server-memory@2026.8.31", "@modelcontextprotocol/server@2.4.0")
	module := func(name string) string {
		return filepath.Join(dir, "node_modules", "@modelcontextprotocol", name, "dist", "index.js")
	}
	work := t.TempDir()
	t.Setenv("OPENAI_API_KEY", "sk-of-the-gateway")
	stdio := func(name string, args ...string) ServerConfig {
		return ServerConfig{Name: name, Command: "node", Args: args, StartTimeout: 30 * time.Second}
	}
	memory := stdio("memory", module("server-memory"))
	memory.Env = map[string]string{"MEMORY_FILE_PATH": filepath.Join(work, "memory.json")}
	port, ssePort := freePort(t), freePort(t)
	serve(t, port, []string{fmt.Sprint("PORT=", port)}, dir, "node", module("server-everything"), "streamableHttp")
	serve(t, ssePort, []string{fmt.Sprint("PORT=", ssePort)}, dir, "node", module("server-everything"), "sse")
	web := ServerConfig{Name: "web", URL: fmt.Sprintf("http://127.0.0.1:%d/mcp", port)}
	sse := ServerConfig{Name: "sse", URL: fmt.Sprintf("http://127.0.0.1:%d/sse", ssePort)}

	b := begin(t, stdio("filesystem", module("server-filesystem"), work), memory, stdio("everything", module("server-everything")), web, sse)
	for _, st := range b.Status() {
		t.Logf("%s: %s %s, %d tools, %s", st.Name, st.State, st.Protocol, len(st.Tools), st.Is)
		if st.State != Ready || len(st.Tools) < 5 {
			t.Fatalf("%+v", st)
		}
	}
	file := filepath.Join(work, "hello.txt")
	say(t, b, "filesystem_write_file", fmt.Sprintf(`{"path":%q,"content":"from the bridge"}`, file))
	if got, err := os.ReadFile(file); err != nil || string(got) != "from the bridge" {
		t.Errorf("%q %v", got, err)
	}
	if got := say(t, b, "filesystem_read_file", fmt.Sprintf(`{"path":%q}`, file)); got != "from the bridge" {
		t.Errorf("%q", got)
	}
	if o := run(t, b, "filesystem_read_file", `{"path":"/etc/passwd"}`); !o.Failed || o.Err != nil {
		t.Errorf("%+v", o)
	}
	say(t, b, "memory_create_entities", `{"entities":[{"name":"Ada","entityType":"person","observations":["writes programs"]}]}`)
	if got := say(t, b, "memory_read_graph", ""); !strings.Contains(got, "writes programs") {
		t.Errorf("%q", got)
	}
	if got := say(t, b, "everything_get-env", ""); strings.Contains(got, "sk-of-the-gateway") || !strings.Contains(got, "PATH") {
		t.Errorf("the environment of the child: %s", got)
	}
	for _, s := range []string{"everything", "web", "sse"} {
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				if o := run(t, b, s+"_echo", fmt.Sprintf(`{"message":"m%d"}`, i)); !strings.Contains(o.Text, fmt.Sprintf("m%d", i)) {
					t.Errorf("%s: %q %v", s, o.Text, o.Err)
				}
			})
		}
		wg.Wait()
		o := run(t, b, s+"_get-tiny-image", "")
		if i := 1; len(o.Content) < 2 || o.Content[i].Type != "image" || o.Content[i].MIMEType != "image/png" || o.Content[i].Data == "" {
			t.Errorf("%s: %d pieces, %v", s, len(o.Content), o.Err)
		}
		if o := run(t, b, s+"_get-structured-content", `{"location":"New York"}`); o.Structured == nil {
			t.Errorf("%s: %+v", s, o)
		}
		if o := run(t, b, s+"_get-resource-links", `{"count":2}`); !strings.Contains(o.Text, "[resource ") {
			t.Errorf("%s: %+v", s, o)
		}
	}
	for _, tl := range session(t, b, Request{}).Tools() {
		if string(parameters(tl.Schema)) != string(tl.Parameters) || !strings.Contains(string(tl.Parameters), `"type":"object"`) {
			t.Errorf("%s: %s", tl.Name, tl.Parameters)
		}
	}
	t.Run("v2", func(t *testing.T) { interopV2(t, dir) })
}

// interopV2: the second version of the TypeScript SDK, which speaks MCP 2026-07-28, alone or beside the older ones.
func interopV2(t *testing.T, dir string) {
	script := filepath.Join(dir, "v2.mjs")
	text := `
import { McpServer, createMcpHandler } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { createServer } from 'node:http';
const factory = () => {
  const s = new McpServer({ name: 'v2', version: '1' });
  s.registerTool('hello', { description: 'Says hello.' }, async () => ({ content: [{ type: 'text', text: 'hello from v2' }] }));
  return s;
};
const legacy = process.argv[3] === 'modern' ? 'reject' : undefined;
if (process.argv[2] === 'stdio') {
  serveStdio(factory, legacy ? { legacy } : {});
} else {
  const handler = createMcpHandler(factory, legacy ? { legacy } : {});
  createServer(async (req, res) => {
    const chunks = []; for await (const c of req) chunks.push(c);
    const answer = await handler.fetch(new Request('http://127.0.0.1' + req.url, { method: req.method, headers: req.headers, body: chunks.length ? Buffer.concat(chunks) : undefined }));
    res.writeHead(answer.status, Object.fromEntries(answer.headers));
    if (answer.body) for await (const c of answer.body) res.write(c);
    res.end();
  }).listen(Number(process.argv[2]), '127.0.0.1');
}
`
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, protocol := range map[string]string{"dual": "2025-11-25", "modern": "2026-07-28"} {
		port := freePort(t)
		serve(t, port, nil, dir, "node", script, fmt.Sprint(port), mode)
		b := begin(t, ServerConfig{Name: "stdio", Command: "node", Args: []string{script, "stdio", mode}, StartTimeout: 30 * time.Second},
			ServerConfig{Name: "http", URL: fmt.Sprintf("http://127.0.0.1:%d/mcp", port)})
		for _, st := range b.Status() {
			if st.State != Ready || st.Protocol != protocol {
				t.Errorf("%s: %+v", mode, st)
				continue
			}
			if got := say(t, b, st.Name+"_hello", ""); got != "hello from v2" {
				t.Errorf("%s: %q", mode, got)
			}
		}
		stop(t, b)
	}
}

// The official Go SDK, whose default server mcp-go 1.2.1 takes for one that speaks 2026-07-28. It is built in a module
// of its own: the gateway does not depend on it.
func TestInteropGoSDK(t *testing.T) {
	need(t, "go")
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module sdk\n\ngo 1.25.0\n\nrequire github.com/modelcontextprotocol/go-sdk v1.8.0\n",
		"main.go": `package main

import (
	"context"
	"net/http"
	"os"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

func server(*http.Request) *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "sdk", Version: "1"}, nil)
	type in struct{ Text string }
	mcp.AddTool(s, &mcp.Tool{Name: "echo"}, func(_ context.Context, _ *mcp.CallToolRequest, i in) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: i.Text}}}, nil, nil
	})
	return s
}

func main() {
	if os.Args[1] == "stdio" {
		_ = server(nil).Run(context.Background(), &mcp.StdioTransport{})
		return
	}
	http.Handle("/stateful", mcp.NewStreamableHTTPHandler(server, nil))
	http.Handle("/stateless", mcp.NewStreamableHTTPHandler(server, &mcp.StreamableHTTPOptions{Stateless: true}))
	http.Handle("/sse", mcp.NewSSEHandler(server, nil))
	_ = http.ListenAndServe(os.Args[1], nil)
}
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	install(t, dir, "go", "mod", "tidy")
	binary := filepath.Join(dir, "sdk")
	install(t, dir, "go", "build", "-o", binary, ".")
	port := freePort(t)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	serve(t, port, nil, dir, binary, address)
	b := begin(t, ServerConfig{Name: "stdio", Command: binary, Args: []string{"stdio"}},
		ServerConfig{Name: "stateful", URL: "http://" + address + "/stateful"}, ServerConfig{Name: "stateless", URL: "http://" + address + "/stateless"},
		ServerConfig{Name: "sse", Type: "sse", URL: "http://" + address + "/sse"})
	for _, st := range b.Status() {
		t.Logf("%s: %s %s", st.Name, st.State, st.Protocol)
		if st.State != Ready {
			t.Errorf("%+v", st)
			continue
		}
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				want := fmt.Sprint("text ", i)
				if o := run(t, b, st.Name+"_echo", fmt.Sprintf(`{"Text":%q}`, want)); o.Text != want {
					t.Errorf("%s: %q %v", st.Name, o.Text, o.Err)
				}
			})
		}
		wg.Wait()
	}
	stop(t, b)
	http.DefaultClient.CloseIdleConnections()
}

// The official Python SDK.
func TestInteropPython(t *testing.T) {
	need(t, "python3")
	t.Parallel()
	dir := t.TempDir()
	install(t, dir, "python3", "-m", "venv", "venv")
	python := filepath.Join(dir, "venv", "bin", "python")
	install(t, dir, python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "mcp==1.26.0")
	script := filepath.Join(dir, "server.py")
	port := freePort(t)
	text := `
import sys
from mcp.server.fastmcp import FastMCP
app = FastMCP("py", host="127.0.0.1", port=int(sys.argv[2]))
@app.tool()
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b
app.run(transport=sys.argv[1])
`
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	serve(t, port, nil, dir, python, script, "streamable-http", fmt.Sprint(port))
	ssePort := freePort(t)
	serve(t, ssePort, nil, dir, python, script, "sse", fmt.Sprint(ssePort))
	b := begin(t, ServerConfig{Name: "stdio", Command: python, Args: []string{script, "stdio", "0"}},
		ServerConfig{Name: "http", URL: fmt.Sprintf("http://127.0.0.1:%d/mcp", port)}, ServerConfig{Name: "sse", URL: fmt.Sprintf("http://127.0.0.1:%d/sse", ssePort)})
	for _, st := range b.Status() {
		t.Logf("%s: %s %s %s", st.Name, st.State, st.Protocol, st.Is)
		if st.State != Ready {
			t.Errorf("%+v", st)
			continue
		}
		if got := say(t, b, st.Name+"_add", `{"a":2,"b":40}`); got != "42" {
			t.Errorf("%s: %q", st.Name, got)
		}
	}
}
