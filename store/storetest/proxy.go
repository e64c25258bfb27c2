package storetest

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Fault is what a [Proxy] does to the connections through it.
type Fault int

const (
	// Pass: everything goes through.
	Pass Fault = iota
	// Silent: connections are taken and bytes swallowed; nothing comes back.
	Silent
	// Reset: connections, present and new, are reset (RST).
	Reset
	// Refuse: the port is closed and the connections with it.
	Refuse
	// Slow: answers come 2 s late.
	Slow
	// Cut: the connection is reset in the middle of an answer, after 3 bytes.
	Cut
	// CutOnce: as Cut, for one answer; then everything passes.
	CutOnce
)

// Proxy is a TCP proxy that breaks connections.
type Proxy struct {
	Addr   string // where clients connect
	target string
	fault  atomic.Int64
	wg     sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	frozen   atomic.Int64 // connections accepted before this one are silent
	accepted atomic.Int64
	ended    chan struct{}
}

// NewProxy returns a proxy before target (host:port) that passes everything. It ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	p := &Proxy{target: target, conns: map[net.Conn]bool{}, ended: make(chan struct{})}
	if err := p.listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	p.Addr = p.listener.Addr().String()
	t.Cleanup(func() {
		close(p.ended)
		p.Set(Refuse)
		p.wg.Wait()
	})
	return p
}

func (p *Proxy) listen(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	p.listener = l
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(c) })
		}
	})
	return nil
}

// Set changes the fault. The connections that are open feel it.
func (p *Proxy) Set(f Fault) {
	before := Fault(p.fault.Swap(int64(f)))
	p.mu.Lock()
	defer p.mu.Unlock()
	if f == Refuse && before != Refuse {
		_ = p.listener.Close()
	}
	if f == Refuse || f == Reset || before == Silent || before == Slow {
		for c := range p.conns {
			abort(c)
		}
	}
	if before == Refuse && f != Refuse {
		for range 100 {
			if p.listen(p.Addr) == nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		panic("proxy: " + p.Addr + " cannot be listened on again")
	}
}

// Freeze makes the connections that are open silent for good, as when a router forgets them; new ones pass.
func (p *Proxy) Freeze() { p.frozen.Store(p.accepted.Load()) }

// abort closes with RST instead of FIN.
func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

func (p *Proxy) track(c net.Conn) (untrack func()) {
	p.mu.Lock()
	p.conns[c] = true
	p.mu.Unlock()
	return func() {
		p.mu.Lock()
		delete(p.conns, c)
		p.mu.Unlock()
		_ = c.Close()
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer p.track(client)()
	number := p.accepted.Add(1)
	if Fault(p.fault.Load()) == Reset {
		abort(client)
		return
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		abort(client)
		return
	}
	defer p.track(server)()
	var wg sync.WaitGroup
	wg.Go(func() { p.copy(server, client, number, false) })
	wg.Go(func() { p.copy(client, server, number, true) })
	wg.Wait()
}

func (p *Proxy) copy(to, from net.Conn, number int64, answers bool) {
	defer to.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if number <= p.frozen.Load() {
			continue
		}
		fault := Fault(p.fault.Load())
		if fault == CutOnce && answers && p.fault.CompareAndSwap(int64(CutOnce), int64(Pass)) {
			fault = Cut
		}
		switch fault {
		case Silent:
			continue
		case Reset, Refuse:
			abort(to)
			return
		case Slow:
			if answers {
				select {
				case <-time.After(2 * time.Second):
				case <-p.ended:
					return
				}
			}
		case Cut:
			if answers {
				_, _ = to.Write(buffer[:min(3, n)])
				abort(to)
				return
			}
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}
