package chat2response

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/labiium/chat2response/convert"
)

// watcher is the client's ResponseWriter where an answer passes unread. It sees only
// whether a stream of events stands between two of them: there a failure can be
// told as an event, should the upstream break off. And it lets no redirect through,
// which could lead the client, with its key, to another host.
//
// Of an account that clients share it lets through neither the headers that are the
// account's own, nor secrets in the text of an error.
type watcher struct {
	http.ResponseWriter
	header http.Header // the upstream's, where the account is shared; else it is the client's
	client *clientBody // whose body goes to the upstream; nil if it was read here
	passes bool        // redirects do
	head   bool        // the answer has no body

	begun, events bool
	refused       bool     // the answer is a redirect, and an error has taken its place
	tooLarge      error    // the client's body is, and an error has taken the place of an answer
	failed        int      // the status of an error that is kept until it is whole
	body          keptBody // of that
	last          [2]byte  // of the body
	blocks        int64    // events, and comments
}

// newWatcher returns the watcher of an answer of the exchange's upstream.
func (x *exchange) newWatcher(r *http.Request) *watcher {
	w := &watcher{ResponseWriter: x.w}
	w.client, _ = r.Body.(*clientBody)
	if x.up.shared() {
		w.header, w.head = http.Header{}, x.r.Method == http.MethodHead
		w.body.hold = x.hold
	}
	return w
}

// Header is the header that the upstream writes.
func (w *watcher) Header() http.Header {
	if w.header != nil {
		return w.header
	}
	return w.ResponseWriter.Header()
}

// accountHeaders are how the headers of an answer begin that are between the upstream
// and who has the account there, or between the upstream and browsers: cookies, the
// limits of the account, its names, and whose pages may read the answer.
var accountHeaders = []string{
	"Access-Control-", "Alt-Svc", "Clear-Site-Data", "Openai-Organization", "Openai-Project", "Set-Cookie", "Strict-Transport-Security",
	"X-Ratelimit-", "Anthropic-Ratelimit-", "Anthropic-Organization-Id",
}

// share gives the client what of the upstream's header is for it.
func (w *watcher) share() {
	to := w.ResponseWriter.Header()
	for name, values := range w.header {
		if !slices.ContainsFunc(accountHeaders, func(p string) bool { return strings.HasPrefix(name, p) }) {
			to[name] = append(to[name], values...) // as reverse_proxy adds to what other handlers have set
		}
	}
}

func (w *watcher) WriteHeader(status int) {
	if w.refused || w.failed != 0 {
		return
	}
	if status >= 300 && status < 400 && !w.passes {
		w.begun, w.refused = true, true
		for _, name := range []string{"Location", "Set-Cookie", "Content-Encoding", "Transfer-Encoding", "Etag", "Last-Modified"} {
			w.Header().Del(name)
		}
		writeError(w.ResponseWriter, noAnswer(status))
		return
	}
	if status == statusClientGone && !w.begun && w.client != nil && w.client.over.Load() != nil {
		e := tooLarge(w.client.over.Load().Limit) // reverse_proxy takes it for a client that has left
		w.begun, w.refused, w.tooLarge = true, true, e
		writeError(w.ResponseWriter, e)
		return
	}
	final := status >= 200 || status == http.StatusSwitchingProtocols
	if w.header != nil && final && !w.begun {
		if status >= 400 {
			w.begun, w.failed = true, status
			return
		}
		w.share()
	}
	if final && !w.begun {
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
	if w.failed != 0 {
		if len(w.body.bytes)+len(b) > maxErrorBody || w.body.add(b, maxErrorBody) != nil {
			w.body.bytes, w.refused = nil, true // finish says so in other words
		}
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

// FlushError flushes, but for an error that is kept.
func (w *watcher) FlushError() error {
	if w.failed != 0 {
		return nil
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// maxErrorBody is the largest error in bytes that is passed on where the account is
// shared; OpenAI's have a few hundred.
const maxErrorBody = 64 << 10

// finish sends what was kept, when the upstream's handler has returned, and the
// trailers.
func (w *watcher) finish() {
	if w.header == nil || w.tooLarge != nil {
		return
	}
	if w.failed == 0 {
		to := w.ResponseWriter.Header()
		for name, values := range w.header {
			if strings.HasPrefix(name, http.TrailerPrefix) || slices.Contains(w.header.Values("Trailer"), name) {
				to[name] = values
			}
		}
		return
	}
	body, ok := w.body.bytes, !w.refused
	if encoding := w.header.Get("Content-Encoding"); ok && encoding != "" {
		body, ok = unpackedError(encoding, body)
	}
	if !ok {
		writeError(w.ResponseWriter, &convert.Error{
			Status: w.failed, Type: "server_error", Code: "upstream_error", Message: "The upstream answered " + strconv.Itoa(w.failed) + ".",
		})
		return
	}
	body = []byte(redact(string(body)))
	for _, name := range []string{"Content-Encoding", "Content-Length", "Etag", "Trailer"} {
		w.header.Del(name)
	}
	w.share()
	if w.head {
		w.ResponseWriter.WriteHeader(w.failed)
		return
	}
	w.ResponseWriter.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.ResponseWriter.WriteHeader(w.failed)
	w.ResponseWriter.Write(body)
}

// unpackedError is an error that came compressed, if it can be read and is not larger
// than an error may be.
func unpackedError(encoding string, packed []byte) ([]byte, bool) {
	if !slices.Contains(encodings, encoding) {
		return nil, false
	}
	in, end, err := decoder(encoding, bytes.NewReader(packed))
	if err != nil {
		return nil, false
	}
	defer end()
	body, err := io.ReadAll(io.LimitReader(in, maxErrorBody+1))
	return body, err == nil && len(body) <= maxErrorBody
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
func (x *exchange) watched(r *http.Request, api convert.API) (err error) {
	w := x.newWatcher(r)
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
	err = x.up.serve(w, r, x.next)
	if x.outcome = outcome; w.refused {
		x.outcome = "upstream_error"
	}
	w.finish()
	return x.caddyError(err)
}

// relayed is watched for answers of which nothing is known. Where one breaks off the
// client must see the connection break, so reverse_proxy's panic goes on.
func (x *exchange) relayed(r *http.Request) error {
	w := x.newWatcher(r)
	w.passes = true
	outcome := x.outcome
	x.outcome = "aborted"
	err := x.up.serve(w, r, x.next)
	if x.outcome = outcome; w.tooLarge != nil {
		x.outcome = ""
	}
	w.finish()
	return x.caddyError(err)
}
