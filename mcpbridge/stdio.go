package mcpbridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	writeTimeout = 10 * time.Second // for one message to a child that does not read
	maxNoise     = 16 << 20         // bytes on stdout without one message among them
)

// carrier carries JSON-RPC messages to and from one server.
type carrier interface {
	// send sends one message. It returns errNotSent if nothing of it left. Many goroutines may call it.
	send(ctx context.Context, message []byte) error
	// receive calls deliver for each message that comes, until the connection ends; the error says why. deliver
	// reports whether it was one.
	receive(deliver func([]byte) bool) error
	// close ends the connection, and receive with it.
	close()
}

// stdio carries messages over a child's stdin and stdout, one a line (MCP 2025-11-25, basic/transports, "stdio").
type stdio struct {
	p      *process
	log    func() *zap.Logger
	frames chan *frame
	closed chan struct{}
	once   sync.Once
	ended  chan struct{} // the writer has ended
}

type frame struct {
	ctx     context.Context
	message []byte
	sent    chan error
}

func newStdio(p *process, log func() *zap.Logger) *stdio {
	s := &stdio{p: p, log: log, frames: make(chan *frame), closed: make(chan struct{}), ended: make(chan struct{})}
	go s.write()
	return s
}

// send hands the message to the one goroutine that writes, so that a caller whose time is up need not wait for a child
// that does not read, and a message is whole or not there at all.
func (s *stdio) send(ctx context.Context, message []byte) error {
	f := &frame{ctx: ctx, message: message, sent: make(chan error, 1)}
	select {
	case s.frames <- f:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errNotSent, ctx.Err())
	case <-s.p.exited:
		return errNotSent
	case <-s.closed:
		return errNotSent
	}
	select {
	case err := <-f.sent:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *stdio) write() {
	defer close(s.ended)
	for {
		var f *frame
		select {
		case f = <-s.frames:
		case <-s.closed:
			return
		}
		if err := f.ctx.Err(); err != nil {
			f.sent <- fmt.Errorf("%w: %w", errNotSent, err)
			continue
		}
		s.p.stdin.SetWriteDeadline(time.Now().Add(writeTimeout))
		n, err := s.p.stdin.Write(append(f.message, '\n'))
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			err = fmt.Errorf("%w: it has not read its stdin for %v", errGone, writeTimeout)
			s.p.kill()
		case err != nil && n == 0:
			err = errNotSent
		case err != nil:
			err = errGone
		}
		f.sent <- err
	}
}

func (s *stdio) receive(deliver func([]byte) bool) error {
	// A process that left the child's group can hold stdout open after the child's end.
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-s.p.exited:
			s.p.stdout.SetReadDeadline(time.Now().Add(time.Second))
		case <-done:
		}
	}()

	noise, told := 0, false
	for in := newLines(s.p.stdout, maxLine, true); ; {
		line, err := in.next()
		if err != nil {
			if errors.Is(err, errLineTooLong) {
				s.p.kill()
				return err
			}
			if err == io.EOF || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, os.ErrClosed) {
				return s.end()
			}
			return err
		}
		if deliver(line) {
			noise = 0
			continue
		}
		if noise += len(line) + 64; noise > maxNoise { // an empty line costs something too
			s.p.kill()
			return fmt.Errorf("sent %d MiB on stdout without one message in it", maxNoise>>20)
		}
		if !told && len(line) > 0 {
			told = true
			start, _ := cut(string(line), 200)
			s.log().Warn("MCP server prints on stdout what is no message; it is ignored (logs belong on stderr)",
				zap.Int("pid", s.p.pid), zap.String("line", start))
		}
	}
}

// end says why stdout has ended. A child that closed it and goes on running is of no use, and is ended.
func (s *stdio) end() error {
	select {
	case <-s.p.exited:
	case <-s.closed:
		return errors.New("was closed")
	case <-time.After(polite):
		s.p.kill()
		return errors.New("closed its stdout")
	}
	return errors.New(s.p.epitaph())
}

func (s *stdio) close() {
	s.once.Do(func() { close(s.closed) })
	s.p.close() // closes stdin, which ends a write
	<-s.ended
}
