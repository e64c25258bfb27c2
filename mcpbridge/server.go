package mcpbridge

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"
)

const (
	healthy    = time.Minute     // of connection, after which earlier failures are forgotten
	patience   = 3 * time.Second // that a call waits for a connection that was lost just now
	listEvery  = time.Second     // the shortest time between two lists that a server asks for
	manyTools  = 64              // from where on the definitions cost more than they are worth
	longestGap = time.Minute     // between two attempts to connect
)

// DefaultRefresh is how often a server's tools are listed again although it has not said that they changed. Over
// streamable HTTP most servers cannot say it.
const DefaultRefresh = 5 * time.Minute

// The states of a [Server].
const (
	Connecting = "connecting" // never connected yet, or trying again
	Ready      = "ready"
	Backoff    = "backoff" // waiting before the next attempt
	Stopped    = "stopped"
)

// Server is one MCP server and the goroutine that keeps it connected. Several bridges can share one: it is a
// caddy.Destructor, so a caddy.UsagePool can hold it under [ServerConfig.Key] while a reload puts a new [Bridge] in the
// place of an old one. All methods may be called at once from many goroutines.
type Server struct {
	cfg     ServerConfig
	dialer  *dialer
	dial    func(context.Context) (*conn, []jsontext.Value, error) // connects and lists
	refresh time.Duration
	backoff func(failures int) time.Duration
	log     atomic.Pointer[zap.Logger]
	slots   chan struct{} // one for each call that runs
	redo    chan *conn    // connections that a call has found to be dead
	pins    map[string]pinned

	ctx     context.Context
	cancel  context.CancelFunc
	ended   chan struct{}
	retired sync.WaitGroup // connections that only wait for their last calls

	mu       sync.Mutex
	change   chan struct{} // closed and replaced whenever what follows changes
	state    string
	since    time.Time
	conn     *conn // nil unless ready
	tools    []definition
	lastErr  error
	failures int
	restarts int
}

// newServer starts to connect at once, and does not wait for it.
func newServer(cfg ServerConfig, o *Options, d *dialer) *Server {
	s := &Server{cfg: cfg, refresh: orElse(o.Refresh, DefaultRefresh), backoff: o.Backoff,
		slots: make(chan struct{}, cfg.parallel()), redo: make(chan *conn, 1), pins: map[string]pinned{},
		ended: make(chan struct{}), change: make(chan struct{}), state: Connecting, since: time.Now()}
	if s.backoff == nil {
		s.backoff = backoff
	}
	copied := *d
	copied.log = s.logger
	s.dialer = &copied
	s.dial = s.dialAndList
	s.setLog(o.Log)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

func (s *Server) start() *Server {
	go s.run()
	return s
}

// backoff is 1 s, 2 s, 4 s … one minute, 20 % more or less.
func backoff(failures int) time.Duration {
	d := min(time.Second<<min(failures-1, 6), longestGap)
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// setLog gives the server the logger of the newest configuration: that of an older one is closed with it.
func (s *Server) setLog(l *zap.Logger) {
	if l == nil {
		l = zap.NewNop()
	}
	s.log.Store(l.With(zap.String("mcp_server", s.cfg.Name)))
}

func (s *Server) logger() *zap.Logger { return s.log.Load() }

// Destruct ends the server, and its child with all that it started. It returns when nothing of it is left, which takes
// little more than four seconds with the most stubborn child. Calls that run end with [ErrClosed].
func (s *Server) Destruct() error {
	s.cancel()
	<-s.ended
	return nil
}

// run keeps the server connected until Destruct.
func (s *Server) run() {
	defer close(s.ended)
	defer s.retired.Wait()
	defer s.set(func() { s.state, s.conn, s.tools = Stopped, nil, nil })
	for failures := 0; ; {
		began := time.Now()
		ctx, cancel := context.WithTimeout(s.ctx, s.cfg.startTimeout())
		c, list, err := s.dial(ctx)
		cancel()
		if err == nil {
			s.ready(c, list, began)
			connected := time.Now()
			err = s.keep(c)
			if time.Since(connected) >= healthy {
				failures = 0
			}
			if errors.Is(err, errSession) {
				// The server runs, and wants no more than a new session. Its tools are offered meanwhile.
				s.set(func() { s.state, s.conn = Connecting, nil; s.restarts++ })
				s.retired.Go(func() { c.retire(s.ctx.Done()) })
				continue
			}
			s.set(func() { s.state, s.conn, s.tools = Connecting, nil, nil })
			c.close()
		}
		if s.ctx.Err() != nil {
			return
		}
		failures++
		wait := s.backoff(failures)
		s.set(func() { s.state, s.tools, s.lastErr, s.failures = Backoff, nil, err, failures })
		s.logger().Warn("MCP server is not connected", zap.String("error", s.redact(err)), zap.Duration("next_attempt_in", wait), zap.Int("failures", failures))
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.ctx.Done():
			timer.Stop()
			return
		}
		s.set(func() { s.state = Connecting; s.restarts++ })
	}
}

// dialAndList connects and asks for the tools.
func (s *Server) dialAndList(ctx context.Context) (*conn, []jsontext.Value, error) {
	c, err := dial(ctx, &s.cfg, s.dialer)
	if err == nil {
		var list []jsontext.Value
		if list, err = c.tools(ctx); err == nil {
			return c, list, nil
		}
		c.close()
	}
	if errors.Is(err, ErrTimeout) {
		err = fmt.Errorf("has not answered within %v; startup_timeout_sec gives it more time", s.cfg.startTimeout())
	}
	return nil, nil, err
}

func (s *Server) ready(c *conn, list []jsontext.Value, began time.Time) {
	tools := s.define(c, list)
	s.set(func() { s.state, s.conn, s.tools, s.lastErr, s.failures = Ready, c, tools, nil, 0 })
	fields := []zap.Field{zap.Int("tools", len(tools)), zap.String("protocol", c.protocol), zap.String("is", c.server), zap.Duration("took", time.Since(began))}
	if c.proc != nil {
		fields = append(fields, zap.Int("pid", c.proc.pid))
	}
	s.logger().Info("MCP server is ready", fields...)
	if len(tools) > manyTools {
		s.logger().Warn("MCP server has many tools, whose definitions go to the model with every turn; enabled_tools chooses", zap.Int("tools", len(tools)))
	}
}

// define makes of a list what is offered, and says in the log what is not.
func (s *Server) define(c *conn, list []jsontext.Value) []definition {
	tools, large := define(list)
	if large += c.large; large > 0 {
		s.logger().Warn("MCP server has tools that are left out: their names or schemas are too large", zap.Int("tools", large),
			zap.Int("max_name_bytes", maxToolName), zap.Int("max_schema_bytes", maxSchema))
	}
	return s.pin(tools)
}

// keep serves a connection until it ends, and returns why.
func (s *Server) keep(c *conn) error {
	every := time.NewTicker(s.refresh)
	defer every.Stop()
	listed, gap := time.Now(), listEvery
	var soon <-chan time.Time
	select {
	case <-s.redo: // about an earlier connection
	default:
	}
	for {
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-c.lost:
			return c.why()
		case dead := <-s.redo:
			if dead == c {
				return errSession
			}
			continue
		case <-c.changed:
			if soon == nil {
				soon = time.After(max(0, gap-time.Since(listed)))
			}
			continue
		case <-soon:
		case <-every.C:
		}
		soon = nil
		began := time.Now()
		if err := s.list(c); err != nil {
			return err
		}
		// A server that changes its list all the time has a tenth of the time at most, however long the list is.
		listed = time.Now()
		gap = max(listEvery, 9*listed.Sub(began))
	}
}

// list asks for the tools again. A server that answers with an error, or not in time (it may be busy with a call),
// keeps those it had; one that cannot be reached is lost.
func (s *Server) list(c *conn) error {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.startTimeout())
	defer cancel()
	list, err := c.tools(ctx)
	var rpc *RPCError
	if errors.As(err, &rpc) || errors.Is(err, ErrTimeout) {
		s.logger().Warn("MCP server does not list its tools", zap.String("error", s.redact(err)))
		return nil
	}
	if err != nil {
		return err
	}
	tools := s.define(c, list)
	s.set(func() { s.tools = tools })
	return nil
}

// call runs a tool. It repeats a call only when the server cannot have run it: the connection was already dead, or the
// session had ended. It never repeats one that may have run.
func (s *Server) call(ctx context.Context, tool string, arguments jsontext.Value) (jsontext.Value, error) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return nil, timeout(ctx)
	}
	var dead *conn
	for {
		c, err := s.usable(ctx, dead)
		if err != nil {
			return nil, err
		}
		raw, err := c.call(ctx, tool, arguments)
		again := errors.Is(err, errSession) || errors.Is(err, errNotSent)
		if errors.Is(err, ErrLost) && c.peer == nil {
			select {
			case c.changed <- struct{}{}: // over HTTP, whether it is there is found out by asking
			default:
			}
		}
		switch {
		case err == nil:
			return raw, nil
		case ctx.Err() != nil:
			return nil, timeout(ctx)
		case s.ctx.Err() != nil:
			return nil, fmt.Errorf("%w: %w", ErrClosed, err)
		case !again:
			return nil, err
		case dead != nil:
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		dead = c
		if c.peer == nil { // otherwise it knows
			select {
			case s.redo <- c:
			default:
			}
		}
	}
}

func timeout(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ErrTimeout
	}
	return ctx.Err()
}

// usable is the connection, if it is not dead. Where one was lost a moment ago it waits a little for the next.
func (s *Server) usable(ctx context.Context, dead *conn) (*conn, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		s.mu.Lock()
		c, state, failures, change := s.conn, s.state, s.failures, s.change
		s.mu.Unlock()
		if c != nil && c != dead {
			select {
			case <-c.lost: // not noticed yet
			default:
				return c, nil
			}
		}
		switch {
		case state == Stopped:
			return nil, ErrClosed
		case failures > 1:
			return nil, ErrUnavailable
		}
		select {
		case <-change:
		case <-timer.C:
			return nil, ErrUnavailable
		case <-ctx.Done():
			return nil, timeout(ctx)
		}
	}
}

// settle waits for the end of an attempt to connect, and returns its error.
func (s *Server) settle(ctx context.Context) error {
	for {
		s.mu.Lock()
		state, err, change := s.state, s.lastErr, s.change
		s.mu.Unlock()
		switch state {
		case Ready:
			return nil
		case Backoff:
			return err
		case Stopped:
			return ErrClosed
		}
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// set changes the state and wakes those who wait for a change.
func (s *Server) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.state
	change()
	if s.state != was {
		s.since = time.Now()
	}
	close(s.change)
	s.change = make(chan struct{})
}

// offered are the tools of a server that is ready. They must not be changed.
func (s *Server) offered() []definition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tools
}

// Status is one server's condition.
type Status struct {
	Name string `json:"name"`
	// Type is stdio, http or sse, as configured; http where it was left open.
	Type string `json:"type"`
	// State is connecting, ready, backoff or stopped.
	State string `json:"state"`
	// Since is when it came into this state.
	Since time.Time `json:"since"`
	// PID of the child; 0 without one.
	PID int `json:"pid,omitempty"`
	// Protocol is the version agreed on, while ready.
	Protocol string `json:"protocol,omitempty"`
	// Is is what the server calls itself, while ready.
	Is string `json:"is,omitempty"`
	// Tools are the names that models see of the tools offered, while ready.
	Tools []string `json:"tools"`
	// Error is why it is not connected, secrets replaced; it may name addresses and files, so it is for the operator.
	Error string `json:"error,omitempty"`
	// Restarts counts the connections after the first.
	Restarts int `json:"restarts"`
}

func (s *Server) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Name: s.cfg.Name, Type: s.cfg.kind(), State: s.state, Since: s.since, Restarts: s.restarts}
	if s.lastErr != nil {
		st.Error = s.redact(s.lastErr)
	}
	if s.conn != nil {
		st.Protocol, st.Is = s.conn.protocol, s.conn.server
		if s.conn.proc != nil {
			st.PID = s.conn.proc.pid
		}
	}
	return st
}

// redact is an error's text without the server's secrets.
func (s *Server) redact(err error) string {
	if err == nil {
		return "its connection has ended"
	}
	return brief(redactor(&s.cfg, s.dialer.env).Replace(err.Error()), maxErrorText)
}
