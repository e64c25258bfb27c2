package mcpbridge

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

const (
	polite     = 2 * time.Second // from the end of stdin to SIGTERM, and from there to SIGKILL
	stderrLine = 8 << 10         // bytes of a line on stderr that are looked at
	lastWords  = 20              // lines of stderr kept for the error when the child ends
)

// process is a child with pipes of our own. exec.Cmd's pipes would do for one child, but not for its children: they
// keep the pipes open, and Wait with them.
type process struct {
	cmd    *exec.Cmd
	pid    int
	stdin  *os.File
	stdout *os.File

	mu      sync.Mutex
	reaped  bool         // the pid may belong to somebody else now
	away    []descendant // processes outside the group that end with the child
	exited  chan struct{}
	state   string        // "exit status 3", set before exited closes
	drained chan struct{} // stderr was read to its end

	wordsMu sync.Mutex
	words   []string
}

// startProcess runs the command in a process group of its own. What it prints on stderr goes to log, 50 lines a second
// at most, with secrets replaced.
func startProcess(s *ServerConfig, env []string, secrets *strings.Replacer, log func() *zap.Logger) (*process, error) {
	var ends [6]*os.File // read and write ends of stdin, stdout, stderr
	closeAll := func() {
		for _, f := range ends {
			if f != nil {
				f.Close()
			}
		}
	}
	for i := 0; i < len(ends); i += 2 {
		var err error
		if ends[i], ends[i+1], err = os.Pipe(); err != nil {
			closeAll()
			return nil, err
		}
	}
	cmd := exec.Command(s.Command, s.Args...)
	cmd.Dir, cmd.Env = s.Dir, env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = ends[0], ends[3], ends[5]
	isolate(cmd)

	p := &process{cmd: cmd, stdin: ends[1], stdout: ends[2], exited: make(chan struct{}), drained: make(chan struct{})}
	started := make(chan error)
	go p.live(started)
	if err := <-started; err != nil {
		closeAll()
		return nil, fmt.Errorf("cannot run %q: %w", s.Command, err)
	}
	for _, i := range []int{0, 3, 5} {
		ends[i].Close() // the child's ends
	}
	go p.listen(ends[4], secrets, log)
	return p, nil
}

// live starts the child and waits for its end, on one thread: on Linux the kernel kills the child when the thread that
// started it ends (PR_SET_PDEATHSIG), which must not be before the gateway does.
func (p *process) live(started chan<- error) {
	defer holdThread()()
	if err := p.cmd.Start(); err != nil {
		started <- err
		return
	}
	p.pid = p.cmd.Process.Pid
	started <- nil

	err := p.reap()
	p.state = "exited"
	if err != nil {
		p.state = err.Error()
	}
	p.mu.Lock()
	away := p.away
	p.away = nil
	p.mu.Unlock()
	for _, d := range away {
		d.end()
	}
	close(p.exited)
}

// signal sends sig to the whole group; nothing happens once the child was reaped. What has left the group by then ends
// when the child has.
func (p *process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		p.away = append(p.away, descend(p.pid)...)
		killGroup(p.cmd, sig)
	}
}

// lookAround notes what has left the child's group. Before it is asked to end is the time: what it started has another
// parent afterwards.
func (p *process) lookAround() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		p.away = append(p.away, descend(p.pid)...)
	}
}

// kill ends the group at once, and what has left it as soon as the child is reaped. It does not wait.
func (p *process) kill() { p.signal(syscall.SIGKILL) }

// close ends the child as MCP 2025-11-25, basic/lifecycle, "Shutdown" says: its stdin first, then SIGTERM, then
// SIGKILL. What has left its group is killed when it has ended. It returns when the child is reaped and everything that
// read from it has ended, after little more than four seconds at most.
func (p *process) close() {
	p.lookAround()
	p.stdin.Close()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		timer := time.NewTimer(polite)
		select {
		case <-p.exited:
		case <-timer.C:
			p.signal(sig)
		}
		timer.Stop()
	}
	<-p.exited
	p.stdout.Close()
	<-p.drained
}

// listen reads stderr to its end: a child whose stderr is full stops.
func (p *process) listen(r *os.File, secrets *strings.Replacer, log func() *zap.Logger) {
	defer close(p.drained)
	defer r.Close()
	// A process that left the group can hold stderr open after the child's end.
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-p.exited:
			r.SetReadDeadline(time.Now().Add(time.Second))
		case <-done:
		}
	}()

	limit := rate.NewLimiter(50, 200)
	suppressed := 0
	for in := newLines(r, stderrLine, false); ; {
		line, err := in.next()
		if err != nil {
			return
		}
		text := strings.TrimSpace(secrets.Replace(strings.ToValidUTF8(string(line), "\ufffd")))
		if text == "" {
			continue
		}
		p.wordsMu.Lock()
		p.words = append(p.words, text)
		if len(p.words) > lastWords {
			p.words = p.words[1:]
		}
		p.wordsMu.Unlock()
		if !limit.Allow() {
			suppressed++
			continue
		}
		fields := []zap.Field{zap.Int("pid", p.pid), zap.String("line", text)}
		if suppressed > 0 {
			fields = append(fields, zap.Int("suppressed_lines", suppressed))
			suppressed = 0
		}
		log().Info("MCP server's stderr", fields...)
	}
}

// epitaph says how the child ended and what it said last, as "exit status 3; last words: fatal: missing API key".
// Empty while it runs.
func (p *process) epitaph() string {
	select {
	case <-p.exited:
	default:
		return ""
	}
	select {
	case <-p.drained: // its last words are in
	case <-time.After(time.Second):
	}
	p.wordsMu.Lock()
	defer p.wordsMu.Unlock()
	if len(p.words) == 0 {
		return p.state
	}
	said, _ := cut(p.words[len(p.words)-1], 300)
	return p.state + "; last words: " + said
}
