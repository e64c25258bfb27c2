package chat2response

import (
	"context"
	"crypto/sha256"
	"net/http"
	"sync"
	"time"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/history"
)

// Clients without a key of this gateway are known by what they authenticate themselves with at the upstream. Anybody can
// invent that, so nothing is written for it before an upstream has accepted it. Who sends nothing at all is nobody in
// particular, and only this machine's own user has anything kept under that name: a web page that the user looks at,
// and whoever else reaches the gateway, would have the same.

// accepted are credentials that an upstream has accepted lately.
var accepted = &recent{at: map[[sha256.Size]byte]time.Time{}}

const (
	acceptedFor  = 10 * time.Minute
	mostAccepted = 10_000
)

// recent is a set of hashes with the time of each. When it is full any of them give way: they are asked for again.
type recent struct {
	mu sync.Mutex
	at map[[sha256.Size]byte]time.Time
}

func (s *recent) add(token string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for other := range s.at {
		if len(s.at) < mostAccepted {
			break
		}
		delete(s.at, other)
	}
	s.at[sha256.Sum256([]byte(token))] = now
}

func (s *recent) has(token string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.at[sha256.Sum256([]byte(token))]
	return ok && now.Sub(at) < acceptedFor
}

// isNobody reports whether the client is one of those that nothing is kept for: it has shown nothing, and is not on
// this machine, or is a web page of another site.
func (x *exchange) isNobody() bool {
	return x.key == nil && bearer(x.r.Header) == "" && !isLocal(x.r)
}

var errNobody = &convert.Error{
	Status: http.StatusUnauthorized, Type: "invalid_request_error", Code: "invalid_api_key",
	Message: "This gateway keeps nothing for clients without an API key, but for those on its own machine. Send one as 'Authorization: Bearer <key>': the upstream's, or any if the upstream asks for none.",
}

// mayKeep is called before something is stored for the client without an upstream having answered it. A client that
// brings the upstream's key must be one that an upstream accepts: one that it has answered lately, or that has something
// here, or whose key opens the list of models.
func (x *exchange) mayKeep(t history.Tenant) error {
	token := bearer(x.r.Header)
	if x.key != nil || token == "" || accepted.has(token, time.Now()) {
		return nil
	}
	known, err := t.Known(x.r.Context())
	if err != nil {
		return x.stateError(err, "")
	}
	if known {
		return nil
	}
	refused := http.StatusForbidden
	for _, u := range x.h.Upstreams {
		if !x.h.State.local(u.Mode) {
			continue
		}
		status := x.probe(u)
		if status >= 200 && status < 300 {
			accepted.add(token, time.Now())
			return nil
		}
		if status == http.StatusUnauthorized || status == http.StatusForbidden {
			refused = http.StatusUnauthorized
		}
	}
	x.outcome = "unauthorized"
	if refused == http.StatusUnauthorized {
		return &convert.Error{Status: refused, Type: "invalid_request_error", Code: "invalid_api_key", Message: "Incorrect API key provided: the upstream does not accept it."}
	}
	return &convert.Error{
		Status: refused, Type: "invalid_request_error", Code: "credentials_not_accepted",
		Message: "Nothing is kept for an API key that no upstream has accepted yet, and the upstream's list of models did not tell. Ask for an answer with it first.",
	}
}

// probe asks an upstream for its list of models with the client's credentials and returns the status, 0 for none.
func (x *exchange) probe(u *Upstream) (status int) {
	defer func() {
		if e := recover(); e != nil {
			if e != http.ErrAbortHandler {
				panic(e)
			}
			status = 0 // reverse_proxy's way to say that the answer broke off
		}
	}()
	ctx, cancel := context.WithTimeout(x.r.Context(), probeWithin)
	defer cancel()
	r := x.r.Clone(ctx)
	r.Method, r.Body, r.GetBody, r.ContentLength = http.MethodGet, http.NoBody, nil, 0
	for _, name := range []string{"Content-Length", "Content-Type", "Content-Encoding"} {
		r.Header.Del(name)
	}
	r.URL.RawQuery = ""
	w := &recorder{header: http.Header{}, body: keptBody{hold: x.hold}}
	if err := u.serve(w, u.request(ctx, r, "/models", nil, x.owner), x.next); err != nil {
		return 0
	}
	return w.status
}

// probeWithin is how long an upstream has to say whether it accepts a key.
const probeWithin = 10 * time.Second
