package chat2response

import (
	"errors"
	"mime"
	"net/http"
	"sync"
	"time"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/sse"
)

// maxAnswer is the largest answer in bytes that is kept to be translated whole.
const maxAnswer = 64 << 20

// maxStream is the same of a stream, whose text is only a part of its bytes.
const maxStream = 256 << 20

// How long an upstream may keep its connection open. They are variables for the
// tests.
var (
	// grace is for one that has said all but its usage, which comes within
	// milliseconds; some never send it.
	grace = 5 * time.Second
	// linger is for one that has said all: it is only waited for so that its
	// connection can be used again.
	linger = 250 * time.Millisecond
)

// responder is the ResponseWriter that an upstream writes a translated answer
// into. It has headers of its own; the client's are written when there is
// something for it. A stream goes through as it comes; anything else is kept.
//
// The upstream's handler writes from one goroutine, the timers fire in others;
// mu keeps them apart.
type responder struct {
	x      *exchange
	header http.Header
	status int // of the upstream, 0 before

	mu        sync.Mutex
	streaming bool
	body      keptBody
	taken     int            // bytes of a stream
	refused   *convert.Error // why no more is taken
	parser    sse.Parser
	reader    convert.StreamReader
	sent      time.Time // when something was last sent to the client
	idle      *time.Timer
	end       *time.Timer
	lingers   bool // end is about linger, not about grace
	closed    bool // the upstream's answer has ended
	stopped   bool // nothing is written any more
	turn      int  // how many answers there were before
}

// again makes the responder ready for the upstream's next answer to the same
// client.
func (w *responder) again() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.end != nil {
		w.end.Stop()
	}
	w.header, w.status = http.Header{}, 0
	w.streaming, w.body, w.refused = false, keptBody{hold: w.x.hold}, nil
	w.parser, w.reader = sse.Parser{}, nil
	w.end, w.lingers, w.closed = nil, false, false
	w.x.ended = false
	w.turn++
}

// locked calls f while nothing else writes to the client.
func (w *responder) locked(f func() error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return f()
}

// keepAwake sends a streaming client a comment whenever nothing else is sent.
func (w *responder) keepAwake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.awake()
}

func (w *responder) awake() {
	every := time.Duration(w.x.h.KeepAlive)
	if every > 0 && w.x.stream && w.idle == nil {
		w.sent = time.Now()
		w.idle = time.AfterFunc(every, w.keepAlive)
	}
}

func (w *responder) Header() http.Header { return w.header }

func (w *responder) WriteHeader(status int) {
	if w.status != 0 || status < 200 { // 1xx are between the upstream and Caddy
		return
	}
	w.status = status
	w.x.body.Free()
	w.x.accepted = w.x.accepted || status < 300
	w.x.copyHeaders()
	media, _, _ := mime.ParseMediaType(w.header.Get("Content-Type"))
	if status >= 300 || media != "text/event-stream" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.streaming = true
	w.reader = w.x.turn.Reader(w.x.emit, w.x.cancel)
	w.awake()
	// An error here is one of the client's connection: the next write meets it too.
	if w.reader.Start() == nil {
		w.x.send()
	}
}

// Write takes what the upstream sent. The events that it completes leave
// together.
func (w *responder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.streaming {
		if err := w.body.add(b, maxAnswer); err != nil {
			errors.As(err, &w.refused)
			return 0, err
		}
		return len(b), nil
	}
	if w.closed {
		return len(b), nil
	}
	if w.taken += len(b); w.taken > maxStream {
		w.close(tooLargeAnswer)
		return 0, tooLargeAnswer
	}
	err := w.parser.Feed(b, w.reader.Event)
	if errors.Is(err, sse.ErrTooLarge) {
		w.close(tooLargeEvent)
		return 0, err
	}
	if sent := w.x.send(); err == nil {
		err = sent
	}
	if err != nil {
		return 0, err
	}
	w.await()
	return len(b), nil
}

// await limits how long a complete answer's upstream may go on.
func (w *responder) await() {
	switch {
	case w.x.ended && !w.lingers:
		w.lingers = true
		if w.end != nil {
			w.end.Stop()
		}
		w.end = w.after(linger)
	case w.end == nil && w.reader.Finishing():
		w.end = w.after(grace)
	}
}

var tooLargeAnswer = &convert.Error{
	Status: http.StatusBadGateway, Type: "server_error", Code: "server_error",
	Message: "The upstream's answer is too large to be translated.",
}

var tooLargeEvent = &convert.Error{
	Status: http.StatusBadGateway, Type: "server_error", Code: "server_error",
	Message: "The upstream sent an event that is too large.",
}

// FlushError does nothing: complete events have been flushed, and others wait.
func (w *responder) FlushError() error { return nil }

// keepAlive sends a comment when nothing was sent for a while, the header too if
// need be. It fires in a goroutine of its own.
func (w *responder) keepAlive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped || w.x.told {
		return
	}
	every := time.Duration(w.x.h.KeepAlive)
	if time.Since(w.sent) >= every {
		w.x.out.Comment("keepalive")
		w.x.send()
	}
	w.idle.Reset(max(every-time.Since(w.sent), time.Millisecond))
}

// after ends a complete answer whose upstream does not end in time.
func (w *responder) after(limit time.Duration) *time.Timer {
	turn := w.turn
	return time.AfterFunc(limit, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.turn != turn {
			return // it has ended, and this is the next
		}
		w.close(nil)
		w.x.cancel()
	})
}

// finish ends the answer, when the upstream's handler has returned. cause is why
// it did before its time, nil if it did not. It tells whether the answer was
// complete before.
func (w *responder) finish(cause *convert.Error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	ended := w.x.ended
	w.close(cause)
	return ended
}

// stop ends the timers. Nothing is written after it.
func (w *responder) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed, w.stopped = true, true
	if w.idle != nil {
		w.idle.Stop()
	}
	if w.end != nil {
		w.end.Stop()
	}
}

func (w *responder) close(cause *convert.Error) {
	if w.closed {
		return
	}
	w.closed = true
	if !w.streaming {
		return
	}
	ended := w.x.ended
	// Errors are those of the client's connection, which is no one's to tell now.
	if w.parser.Close(w.reader.Event) != nil || w.reader.Close(cause) != nil {
		return
	}
	if !ended && w.x.failure != nil {
		w.x.failure.Status = http.StatusBadGateway // it did not fail, it stopped
	}
	w.x.send()
}
