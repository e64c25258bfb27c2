package store

import (
	"errors"
	"sync"
	"time"
)

// breaker keeps requests from waiting, one timeout each, for a Redis that is known not to answer: after five failures
// in a row nothing is asked for a second, then one request tries for all.
type breaker struct {
	changed func(open bool, err error)

	mu       sync.Mutex
	failures int
	open     bool
	until    time.Time
	probing  bool
}

const (
	breakerFailures = 5
	breakerPause    = time.Second
)

type health int

const (
	healthy health = iota
	sick
	unknown // the operation ended for reasons of its own
)

var errBreaker = errors.New("it did not answer the last requests; it is asked again within a second")

func (b *breaker) enter() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return nil
	}
	if b.probing || time.Now().Before(b.until) {
		return errBreaker
	}
	b.probing = true
	return nil
}

func (b *breaker) leave(h health, err error) {
	b.mu.Lock()
	b.probing = false
	was := b.open
	switch h {
	case healthy:
		b.failures, b.open = 0, false
	case sick:
		b.failures++
		if b.open || b.failures >= breakerFailures {
			b.open, b.until = true, time.Now().Add(breakerPause)
		}
	}
	open := b.open
	b.mu.Unlock()
	if open != was {
		b.changed(open, err)
	}
}
