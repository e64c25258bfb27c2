package chat2response

import (
	"context"
	"errors"
	"sync"
)

// opening is what the app opens once, when it starts, and requests use. Requests
// outlive the configuration that they came in under, so the last user closes it.
type opening struct {
	// ready is closed when opening has been tried; err says how it went.
	ready chan struct{}
	err   error
	shut  func()

	mu     sync.Mutex
	users  int
	closed bool
}

func newOpening() *opening { return &opening{ready: make(chan struct{})} }

// opened says how opening went. The app is the first user; shut is called when
// the last has left. It returns err.
func (o *opening) opened(err error, shut func()) error {
	defer close(o.ready)
	if o.err = err; err == nil {
		o.users, o.shut = 1, shut
	}
	return err
}

// errNotOpen is what a request meets whose configuration is gone.
var errNotOpen = errors.New("the store is not open")

// use waits until the app has opened it. leave must be called when the request is
// done with it.
func (o *opening) use(ctx context.Context) error {
	select {
	case <-o.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	if o.err != nil {
		return o.err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.users == 0 {
		return errNotOpen
	}
	o.users++
	return nil
}

// leave gives back a use; the last closes.
func (o *opening) leave() {
	o.mu.Lock()
	o.users--
	last := o.users == 0
	o.mu.Unlock()
	if last {
		o.shut()
	}
}

// close gives back the app's own use, once.
func (o *opening) close() {
	o.mu.Lock()
	open := !o.closed && o.users > 0
	o.closed = true
	o.mu.Unlock()
	if open {
		o.leave()
	}
}
