package chat2response

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/labiium/chat2response/convert"
)

// open are the translated streams of the process, also those of configurations that a
// reload has replaced.
var open = struct {
	sync.Mutex
	streams map[*responder]bool
}{streams: map[*responder]bool{}}

func init() {
	// Behind the grace period, just before the process ends.
	caddy.OnExit(func(context.Context) { endStreams() })
}

// enter counts a stream among the open ones until leave is called.
func enter(w *responder) (leave func()) {
	open.Lock()
	defer open.Unlock()
	open.streams[w] = true
	return func() {
		open.Lock()
		defer open.Unlock()
		delete(open.streams, w)
	}
}

// endStreams ends the open streams with a failure: a connection that just closes
// could be taken for the end of the answer.
func endStreams() {
	open.Lock()
	streams := make([]*responder, 0, len(open.streams))
	for w := range open.streams {
		streams = append(streams, w)
	}
	open.Unlock()
	var wg sync.WaitGroup
	for _, w := range streams {
		wg.Go(func() { // a client that does not read must not hold up the others
			w.mu.Lock()
			defer w.mu.Unlock()
			w.close(stopping)
			if w.x.cancel != nil {
				w.x.cancel()
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(farewell):
	}
}

// farewell is how long the clients of open streams have to take the failure.
const farewell = time.Second

var stopping = &convert.Error{
	Status: http.StatusServiceUnavailable, Type: "server_error", Code: "server_error",
	Message: "The gateway is being stopped, and the answer is not complete. Try again.",
}
