package chat2response

import (
	"fmt"
	"net/http"
	"runtime"
	"slices"

	"golang.org/x/time/rate"

	"github.com/labiium/chat2response/convert"
)

// Who may ask for what asks no model: /convert and /status.
const (
	accessOpen = "open" // everybody, within limits for those who show no key
	accessKeys = "keys" // clients with a key of this gateway
	accessOff  = "off"  // the path is not here
)

var accessWords = []string{accessOpen, accessKeys, accessOff}

// checkAccess refuses a word that is none, and keys where there are none.
func (h *Handler) checkAccess(option, word string) error {
	if word != "" && !slices.Contains(accessWords, word) {
		return fmt.Errorf("%s is %q, and must be open, keys or off", option, word)
	}
	if word == accessKeys && !h.managed() {
		return fmt.Errorf("%s keys wants a key of this gateway's from its clients, and it has none to give: configure keys, or write %s open or off", option, option)
	}
	return nil
}

// Of those who ask without a key where others have one: how many in a second, all together, and how many at one time.
// Behind /convert is work for a processor, whose time the others need.
var (
	strangersRate = rate.NewLimiter(100, 200)
	strangersWork = make(chan struct{}, 2*runtime.GOMAXPROCS(0))
)

// admitAside lets a request in that asks no model. A key that the client brings along is checked only where one is
// needed, or where it has the form of this gateway's.
func (x *exchange) admitAside(access string) error {
	token, err := credential(x.r.Header)
	switch {
	case !x.h.managed():
		return nil
	case access == accessKeys, err == nil && isToken(token) && x.route.name == "convert":
		return x.admit()
	}
	if !strangersRate.Allow() {
		x.outcome = "rate_limited"
		x.w.Header().Set("Retry-After", "1")
		return &convert.Error{
			Status: http.StatusTooManyRequests, Type: "requests", Code: "rate_limit_exceeded",
			Message: "Too many requests without an API key. Send one, or try again in a second.",
		}
	}
	return nil
}

// takePlace takes one of the places of those who have shown no key, for work that needs a processor. done gives it back.
func (x *exchange) takePlace() (done func(), err error) {
	if x.key != nil || !x.h.managed() {
		return func() {}, nil
	}
	select {
	case strangersWork <- struct{}{}:
		return func() { <-strangersWork }, nil
	default:
		x.busy(errBusy)
		return nil, errBusy
	}
}
