package chat2response

import (
	"errors"
	"net/http"
	"net/netip"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/internal/account"
)

// requestMemory is what all requests of the process hold: bodies, and what they make of them.
var requestMemory account.Account

// claim begins a claim of the exchange's client on the memory of all requests. It is given back when the exchange ends,
// or before.
func (x *exchange) claim() *account.Claim {
	c := requestMemory.Claim(x.memoryOwner(), x.h.MaxBodies)
	x.leaves = append(x.leaves, c.Free)
	return c
}

// memoryOwner is on whose account the client's memory is: its key's, or its address's. A key that nobody has checked
// names nobody.
func (x *exchange) memoryOwner() account.Owner {
	if x.key != nil {
		return account.Owner{Name: "key " + x.key.Owner()}
	}
	return account.Owner{Name: "address " + x.network(), Stranger: x.h.managed()}
}

// network is where the client is: its address, or for IPv6 its network of 64 bits, which one client has to itself.
func (x *exchange) network() string {
	address, _ := caddyhttp.GetVar(x.r.Context(), caddyhttp.ClientIPVarKey).(string)
	if address == "" {
		address = x.r.RemoteAddr
	}
	ip, err := netip.ParseAddr(address)
	if err != nil {
		port, err := netip.ParseAddrPort(address)
		if err != nil {
			return ""
		}
		ip = port.Addr()
	}
	if ip = ip.Unmap(); ip.Is6() {
		if p, err := ip.WithZone("").Prefix(64); err == nil {
			return p.Addr().String()
		}
	}
	return ip.String()
}

// hold adds to what the exchange holds until its end: what it continues, what it opens, what of its answer is kept.
func (x *exchange) hold(bytes int64) error {
	if x.held == nil {
		x.held = x.claim()
	}
	if x.held.Grow(bytes) != nil {
		return errBusy
	}
	return nil
}

var errBusy = &convert.Error{
	Status: http.StatusServiceUnavailable, Type: "server_error", Code: "overloaded",
	Message: "The gateway has too many large requests at once (max_bodies). Try again in a second.",
}

// keptBody is an answer that is kept whole, up to a number of bytes, on the account of who asked.
type keptBody struct {
	bytes []byte
	hold  func(bytes int64) error
}

// add appends to it. Its errors are for the client.
func (k *keptBody) add(b []byte, most int) error {
	need := len(k.bytes) + len(b)
	if need > most {
		return tooLargeAnswer
	}
	if have := cap(k.bytes); need > have {
		size := max(need, 2*have, firstRead)
		if err := k.hold(int64(size - have)); err != nil {
			return err
		}
		k.bytes = append(make([]byte, 0, size), k.bytes...)
	}
	k.bytes = append(k.bytes, b...)
	return nil
}

// busy notes an error for want of memory.
func (x *exchange) busy(err error) {
	if errors.Is(err, errBusy) {
		x.outcome = "overloaded"
		x.w.Header().Set("Retry-After", "1")
	}
}
