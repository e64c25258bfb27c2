// Package account keeps count of the memory that requests hold, so that all of it together is bounded and nobody takes
// it from the others.
//
// A claim is what one request holds. It belongs to an owner: a key, or the address of a client that has shown none.
// Owners share by dynamic thresholds (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet
// switches", 1998): an owner may hold [Share] times as much as is free, so that one alone gets most of it and two get
// about a half each. An eighth of all is not free in this sense: it is for owners who hold little, so that a usual request
// finds room beside some thirty others who take all that they can.
package account

import (
	"errors"
	"sync"
)

const (
	// Share is how many times of what is free an owner may hold.
	Share = 4
	// Strangers is the part of all, as a divisor, that owners who have shown no key may hold together where others
	// have one.
	Strangers = 8

	spare  = 8   // the part of all, as a divisor, that is for owners who hold little
	little = 256 // what is little, in the same manner: 1 MiB of 256
)

// ErrFull is that there is no room for a claim to grow: in the account, or in its owner's share of it.
var ErrFull = errors.New("too much memory is held by requests")

// Account is memory that claims share. The zero Account is ready to use. All methods of it and of its claims may be
// called at once from many goroutines.
type Account struct {
	mu        sync.Mutex
	held      int64
	strangers int64
	owners    map[string]int64 // those that hold something
}

// Held is how many bytes all claims hold.
func (a *Account) Held() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.held
}

// Owners is how many owners hold something.
func (a *Account) Owners() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.owners)
}

// Owner is who a claim belongs to.
type Owner struct {
	Name     string
	Stranger bool // has shown no key, where others have one
}

// Claim is what one request holds. A nil Claim holds nothing and grows without bound.
type Claim struct {
	a     *Account
	owner Owner
	most  int64
	size  int64 // guarded by a.mu
}

// Claim returns an empty claim of an owner on an account of most bytes. Handlers of one process may bound it
// differently: each claim is held to its own bound.
func (a *Account) Claim(owner Owner, most int64) *Claim {
	return &Claim{a: a, owner: owner, most: most}
}

// Grow adds so many bytes to the claim, or returns ErrFull and adds none. A claim that is alone in the account may be as
// large as it likes, and so may one that is the only stranger's, within what is free: its request has bounds of its own.
func (c *Claim) Grow(bytes int64) error {
	if c == nil || bytes <= 0 {
		return nil
	}
	a := c.a
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.fits(c, bytes) {
		return ErrFull
	}
	c.add(bytes)
	return nil
}

// fits reports whether a claim may grow by so many bytes.
func (a *Account) fits(c *Claim, bytes int64) bool {
	if a.held == c.size {
		return true
	}
	most, held := c.most, a.held
	if c.owner.Stranger {
		if a.strangers == c.size && held+bytes <= most {
			return true
		}
		most, held = most/Strangers, max(a.strangers, held+most/Strangers-most)
	}
	free, owner := most-held-bytes, a.owners[c.owner.Name]+bytes
	return free >= 0 && (owner <= most/little || owner <= Share*(free-most/spare))
}

// add changes the claim's size; the lock is held.
func (c *Claim) add(bytes int64) {
	a := c.a
	c.size += bytes
	a.held += bytes
	if c.owner.Stranger {
		a.strangers += bytes
	}
	if a.owners == nil {
		a.owners = map[string]int64{}
	}
	if a.owners[c.owner.Name] += bytes; a.owners[c.owner.Name] == 0 {
		delete(a.owners, c.owner.Name)
	}
}

// Shrink gives so many bytes back.
func (c *Claim) Shrink(bytes int64) {
	if c == nil {
		return
	}
	c.a.mu.Lock()
	defer c.a.mu.Unlock()
	c.add(-min(bytes, c.size))
}

// Free gives all of it back. What is given back already is not given twice.
func (c *Claim) Free() {
	if c == nil {
		return
	}
	c.a.mu.Lock()
	defer c.a.mu.Unlock()
	c.add(-c.size)
}

// Size is how many bytes the claim holds.
func (c *Claim) Size() int64 {
	if c == nil {
		return 0
	}
	c.a.mu.Lock()
	defer c.a.mu.Unlock()
	return c.size
}
