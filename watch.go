package chat2response

import (
	"bytes"
	"mime"
	"net/http"

	"github.com/labiium/chat2response/convert"
)

// watcher is the client's ResponseWriter where an answer passes unread. It sees only
// whether a stream of events stands between two of them: there a failure can be
// told as an event, should the upstream break off. And it lets no redirect through,
// which could lead the client, with its key, to another host.
type watcher struct {
	http.ResponseWriter
	begun, events bool
	refused       bool    // the answer is a redirect, and an error has taken its place
	last          [2]byte // of the body
	blocks        int64   // events, and comments
}

func (w *watcher) WriteHeader(status int) {
	if w.refused {
		return
	}
	if status >= 300 && status < 400 {
		w.begun, w.refused = true, true
		for _, name := range []string{"Location", "Set-Cookie", "Content-Encoding", "Transfer-Encoding", "Etag", "Last-Modified"} {
			w.Header().Del(name)
		}
		writeError(w.ResponseWriter, noAnswer(status))
		return
	}
	if status >= 200 && !w.begun {
		w.begun = true
		media, _, _ := mime.ParseMediaType(w.Header().Get("Content-Type"))
		w.events = status == http.StatusOK && media == "text/event-stream" && w.Header().Get("Content-Encoding") == ""
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *watcher) Write(b []byte) (int, error) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	if w.refused {
		return len(b), nil
	}
	n, err := w.ResponseWriter.Write(b)
	if w.events {
		w.blocks += int64(bytes.Count(b[:n], blank))
		if n > 0 && b[0] == '\n' && w.last[1] == '\n' && w.last[0] != '\n' {
			w.blocks++
		}
	}
	switch {
	case n >= 2:
		copy(w.last[:], b[n-2:n])
	case n == 1:
		w.last = [2]byte{w.last[1], b[0]}
	}
	return n, err
}

// blank is what ends an event.
var blank = []byte("\n\n")

// Unwrap is for http.ResponseController.
func (w *watcher) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// between tells whether the last event is whole, and another can follow.
func (w *watcher) between() bool { return w.events && bytes.Equal(w.last[:], blank) }

// watched hands the request to an upstream whose answer passes unread.
// reverse_proxy panics when an answer breaks off. A stream ends with an event that
// says so, where one can follow; else the client must see the connection break, so
// the panic goes on.
func (x *exchange) watched(serve func(http.ResponseWriter) error, api convert.API) (err error) {
	w := &watcher{ResponseWriter: x.w}
	outcome := x.outcome
	x.outcome = "aborted"
	defer func() {
		e := recover()
		if e == nil {
			return
		}
		if e != http.ErrAbortHandler || !w.between() || x.r.Context().Err() != nil {
			panic(e)
		}
		x.outcome, x.begun = "upstream_cut", true
		x.logFailure(broken)
		if _, err := w.Write(convert.StreamFailure(api, x.model, w.blocks, broken)); err == nil {
			http.NewResponseController(w).Flush()
		}
	}()
	err = serve(w)
	if x.outcome = outcome; w.refused {
		x.outcome = "upstream_error"
	}
	return x.caddyError(err)
}
