package keystore

import (
	"bytes"
	"container/list"
	"sync"
)

// lru is a map that forgets what was not used for longest. It is not safe to use from several goroutines.
type lru[V any] struct {
	most  int
	byID  map[string]*list.Element
	order list.List // of *lruEntry, most recently used first
}

type lruEntry[V any] struct {
	id    string
	value V
}

func newLRU[V any](most int) *lru[V] {
	return &lru[V]{most: most, byID: map[string]*list.Element{}}
}

func (l *lru[V]) get(id string) (v V, ok bool) {
	e := l.byID[id]
	if e == nil {
		return v, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*lruEntry[V]).value, true
}

func (l *lru[V]) put(id string, v V) {
	if e := l.byID[id]; e != nil {
		e.Value.(*lruEntry[V]).value = v
		l.order.MoveToFront(e)
		return
	}
	l.byID[id] = l.order.PushFront(&lruEntry[V]{id, v})
	if len(l.byID) > l.most {
		l.drop(l.order.Back().Value.(*lruEntry[V]).id)
	}
}

func (l *lru[V]) drop(id string) {
	if e := l.byID[id]; e != nil {
		l.order.Remove(e)
		delete(l.byID, id)
	}
}

func (l *lru[V]) clear() {
	clear(l.byID)
	l.order.Init()
}

// memo spares decoding a record again whose bytes have not changed. It never answers for the store: the bytes are
// read each time.
type memo struct {
	mu   sync.Mutex
	keys *lru[memoized]
}

type memoized struct {
	raw []byte
	key *Key
}

const memoSize = 10_000

func newMemo() *memo { return &memo{keys: newLRU[memoized](memoSize)} }

func (m *memo) decode(id string, raw []byte) (*Key, error) {
	m.mu.Lock()
	have, ok := m.keys.get(id)
	m.mu.Unlock()
	if ok && bytes.Equal(have.raw, raw) {
		return have.key, nil
	}
	key, err := decode(id, raw)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.keys.put(id, memoized{raw, key})
	m.mu.Unlock()
	return key, nil
}
