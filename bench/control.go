//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
)

// order is what the load process asks of the gateway or the upstream, one line
// of JSON on its standard input; reply is the answer on its standard output. The
// end of the input ends the process: children die with the parent, however it
// dies.
type order struct {
	Do    string `json:"do"`
	Sites []site `json:"sites,omitempty"`
	File  string `json:"file,omitempty"` // of a profile
	Dir   string `json:"dir,omitempty"`  // for the gateway's storage
	URL   string `json:"url,omitempty"`  // of an MCP server
	Procs int    `json:"procs,omitempty"`
}

type reply struct {
	Err   string            `json:"err,omitempty"`
	Addrs map[string]string `json:"addrs,omitempty"` // by variant
	Usage usage             `json:"usage,omitzero"`
	Live  uint64            `json:"live,omitempty"` // bytes
	Path  string            `json:"path,omitempty"`
	Body  []byte            `json:"body,omitempty"`
}

// serveOrders is the life of a child: it carries out orders until its input ends.
func serveOrders(carryOut func(order) (reply, error)) {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var o order
		if err := in.Decode(&o); err != nil {
			os.Exit(0)
		}
		r, err := carryOut(o)
		if err != nil {
			r.Err = err.Error()
		}
		if err := out.Encode(r); err != nil {
			os.Exit(0)
		}
	}
}

// Environment of a child.
const (
	roleVariable = "CHAT2RESPONSE_BENCH_ROLE"
	coreVariable = "CHAT2RESPONSE_BENCH_CORE"
)

// child is a process of this program in another role.
type child struct {
	role   string
	cmd    *exec.Cmd
	stdin  io.Closer
	in     *json.Encoder
	out    *json.Decoder
	stderr *tail
}

// startChild starts this program again in a role, on a core if there is one to
// spare (else core is -1).
func startChild(ctx context.Context, role string, core int) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{role: role, cmd: exec.CommandContext(ctx, self), stderr: &tail{}}
	c.cmd.Env = append(os.Environ(), roleVariable+"="+role, coreVariable+"="+strconv.Itoa(core), "GOMAXPROCS=1", "GOGC=", "GOMEMLIMIT=")
	c.cmd.Stderr = c.stderr
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.stdin, c.in, c.out = stdin, json.NewEncoder(stdin), json.NewDecoder(stdout)
	return c, c.cmd.Start()
}

func (c *child) ask(o order) (reply, error) {
	var r reply
	if err := c.in.Encode(o); err != nil {
		return r, c.broken(err)
	}
	if err := c.out.Decode(&r); err != nil {
		return r, c.broken(err)
	}
	if r.Err != "" {
		return r, fmt.Errorf("%s: %s: %s", c.role, o.Do, r.Err)
	}
	return r, nil
}

func (c *child) broken(err error) error {
	if errors.Is(err, io.EOF) {
		err = errors.New("it has ended")
	}
	return fmt.Errorf("the %s process: %w\n%s", c.role, err, c.stderr)
}

func (c *child) stop() {
	c.stdin.Close()
	c.cmd.Wait()
}

// tail keeps the end of what is written to it: what a child said last.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if over := len(t.b) - tailSize; over > 0 {
		t.b = t.b[:copy(t.b, t.b[over:])]
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
