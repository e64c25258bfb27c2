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

// grace is how long an upstream may keep its connection open behind a complete
// answer. Its usage comes within milliseconds; some never close.
const grace = 5 * time.Second

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
	body      []byte
	parser    sse.Parser
	reader    convert.StreamReader
	idle      *time.Timer
	wrote     bool // something was sent since the idle timer fired
	end       *time.Timer
	closed    bool
}

func (w *responder) Header() http.Header { return w.header }

func (w *responder) WriteHeader(status int) {
	if w.status != 0 || status < 200 { // 1xx are between the upstream and Caddy
		return
	}
	w.status = status
	media, _, _ := mime.ParseMediaType(w.header.Get("Content-Type"))
	if status >= 300 || media != "text/event-stream" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.streaming = true
	w.reader = w.x.turn.Reader(w.x.emit, w.x.cancel)
	if every := time.Duration(w.x.h.KeepAlive); every > 0 && w.x.stream {
		w.idle = time.AfterFunc(every, w.keepAlive)
	}
	// An error here is one of the client's connection: the next write meets it too.
	if w.reader.Start() == nil {
		w.x.out.Send()
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
		if len(w.body)+len(b) > maxAnswer {
			return 0, errAnswerTooLarge
		}
		w.body = append(w.body, b...)
		return len(b), nil
	}
	if w.closed {
		return len(b), nil
	}
	err := w.parser.Feed(b, w.reader.Event)
	if errors.Is(err, sse.ErrTooLarge) {
		w.close(tooLargeEvent)
		return 0, err
	}
	if sent := w.x.out.Send(); err == nil {
		err = sent
	}
	w.wrote = true
	if err != nil {
		return 0, err
	}
	if w.end == nil && (w.reader.Finishing() || w.x.ended) {
		w.end = time.AfterFunc(grace, w.giveUp)
	}
	return len(b), nil
}

var errAnswerTooLarge = errors.New("the upstream's answer is too large to be translated")

var tooLargeEvent = &convert.Error{
	Status: http.StatusBadGateway, Type: "server_error", Code: "server_error",
	Message: "The upstream sent an event that is too large.",
}

// FlushError does nothing: complete events have been flushed, and others wait.
func (w *responder) FlushError() error { return nil }

// keepAlive sends a comment when nothing was sent for a while. It fires in a
// goroutine of its own.
func (w *responder) keepAlive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	if !w.wrote && w.x.begun {
		w.x.out.Comment("keepalive")
		w.x.out.Send()
	}
	w.wrote = false
	w.idle.Reset(time.Duration(w.x.h.KeepAlive))
}

// giveUp ends a complete answer whose upstream does not end.
func (w *responder) giveUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.close(nil)
	w.x.cancel()
}

// finish ends the answer, when the upstream's handler has returned. cause is why
// it did before its time, nil if it did not.
func (w *responder) finish(cause *convert.Error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.idle != nil {
		w.idle.Stop()
	}
	if w.end != nil {
		w.end.Stop()
	}
	w.close(cause)
}

func (w *responder) close(cause *convert.Error) {
	if w.closed {
		return
	}
	w.closed = true
	if !w.streaming {
		return
	}
	// Errors are those of the client's connection, which is no one's to tell now.
	if w.parser.Close(w.reader.Event) == nil && w.reader.Close(cause) == nil {
		w.x.out.Send()
	}
}
