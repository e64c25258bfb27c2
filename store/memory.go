package store

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

func init() { caddy.RegisterModule(Memory{}) }

// Memory keeps everything in this process: for tests and trials. It survives a reload of the configuration and
// nothing else.
type Memory struct {
	// Name tells apart the memory stores of one process; equal names are one store. Default: "default".
	Name string `json:"name,omitempty"`
	// MaxBytes bounds what is kept, in bytes, names and book-keeping included; beyond it writes fail.
	// Default: 268435456 (256 MiB). On a reload the newest configuration's bound holds.
	MaxBytes int64 `json:"max_bytes,omitempty"`
}

// CaddyModule returns the module's name and constructor.
func (Memory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".memory", New: func() caddy.Module { return new(Memory) }}
}

// Provision sets the defaults.
func (m *Memory) Provision(caddy.Context) error {
	if m.Name == "" {
		m.Name = "default"
	}
	if m.MaxBytes == 0 {
		m.MaxBytes = 256 << 20
	}
	return nil
}

// Validate refuses a negative bound.
func (m *Memory) Validate() error {
	if m.MaxBytes < 0 {
		return fmt.Errorf("memory: max_bytes is %d; it must be positive", m.MaxBytes)
	}
	return nil
}

// UnmarshalCaddyfile reads:
//
//	memory {
//		name      <name>
//		max_bytes <size>
//	}
func (m *Memory) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return parseBlock(d, nil, setting{
		"name": setString(&m.Name),
		"max_bytes": func(v string) error {
			n, err := humanize.ParseBytes(v)
			m.MaxBytes = int64(n)
			return err
		},
	})
}

// Open returns a share of the memory store of that name. It cannot fail.
func (m *Memory) Open(context.Context) (Store, error) {
	db, release, err := share("memory:"+m.Name, func() (*memory, error) {
		db := &memory{spaces: map[string]*table{}, worker: newWorker()}
		db.worker.every(time.Minute, db.sweep)
		return db, nil
	})
	if err != nil {
		return nil, err
	}
	db.mu.Lock()
	db.max = m.MaxBytes
	db.mu.Unlock()
	return &memoryShare{memory: db, release: release}, nil
}

type memoryShare struct {
	*memory
	release func() error
}

func (s *memoryShare) Close() error { return s.release() }

// memory is the store itself. Rows are never changed once they are in a table, so a reader may keep one.
type memory struct {
	worker *worker

	mu     sync.RWMutex
	closed bool
	spaces map[string]*table
	used   int64
	max    int64
}

// table is one space: its rows by id, and the same rows in order. Keys and responses come in order of creation, so
// an insertion nearly always appends.
type table struct {
	byID  map[string]*row
	order []*row
}

type row struct {
	Entry
	expires  int64 // Unix ms; 0: never
	unlisted bool
}

func (r *row) alive(now int64) bool { return r != nil && (r.expires == 0 || now < r.expires) }

// size counts a row's bytes with what the maps and slices around it cost, roughly.
func (r *row) size() int64 { return int64(len(r.ID)+len(r.Value)) + 160 }

// Destruct forgets everything. The pool calls it when the last share is closed.
func (m *memory) Destruct() error {
	m.worker.stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed, m.spaces, m.used = true, nil, 0
	return nil
}

// ready is asked with the lock held.
func (m *memory) ready(ctx context.Context) error {
	if m.closed {
		return ErrClosed
	}
	return ctx.Err()
}

// find returns the live row at (space, id), or nil.
func (m *memory) find(space, id string) *row {
	t := m.spaces[space]
	if t == nil {
		return nil
	}
	if r := t.byID[id]; r.alive(time.Now().UnixMilli()) {
		return r
	}
	return nil
}

func (m *memory) Get(ctx context.Context, space, id string) ([]byte, error) {
	if err := checkNames(space, id); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if err := m.ready(ctx); err != nil {
		return nil, err
	}
	if r := m.find(space, id); r != nil {
		return r.Value, nil
	}
	return nil, ErrNotFound
}

func (m *memory) GetMany(ctx context.Context, space string, ids []string) ([][]byte, error) {
	if err := checkNames(space, ids...); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if err := m.ready(ctx); err != nil {
		return nil, err
	}
	values := make([][]byte, len(ids))
	for i, id := range ids {
		if r := m.find(space, id); r != nil {
			values[i] = r.Value
		}
	}
	return values, nil
}

func (m *memory) Swap(ctx context.Context, c Change) error {
	return one(m.SwapMany(ctx, []Change{c}))
}

func (m *memory) SwapMany(ctx context.Context, changes []Change) error {
	if err := checkAll(changes); err != nil {
		return err
	}
	rows := make([]*row, len(changes)) // made before anybody has to wait for it
	for i, c := range changes {
		if c.New != nil {
			rows[i] = &row{Entry{Position{c.Score, c.ID}, bytes.Clone(c.New)}, millis(c.Expires), c.Unlisted}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx); err != nil {
		return err
	}
	var lost []int
	more := int64(0)
	for i := range changes {
		c := &changes[i]
		var now []byte
		if r := m.find(c.Space, c.ID); r != nil {
			now = r.Value
			more -= r.size()
		}
		if !c.wins(now) {
			lost = append(lost, i)
		}
		if rows[i] != nil {
			more += rows[i].size()
		}
	}
	if len(lost) > 0 {
		return conflict(lost)
	}
	if more > 0 && m.used+more > m.max {
		return fmt.Errorf("%w: memory store holds %d bytes of its max_bytes %d", ErrFull, m.used, m.max)
	}
	for i, c := range changes {
		m.remove(c.Space, c.ID)
		if rows[i] != nil {
			m.insert(c.Space, rows[i])
		}
	}
	return nil
}

func (m *memory) insert(space string, r *row) {
	t := m.spaces[space]
	if t == nil {
		t = &table{byID: map[string]*row{}}
		m.spaces[space] = t
	}
	t.byID[r.ID] = r
	if !r.unlisted {
		t.order = slices.Insert(t.order, t.index(r.Position), r)
	}
	m.used += r.size()
}

func (m *memory) remove(space, id string) {
	t := m.spaces[space]
	if t == nil || t.byID[id] == nil {
		return
	}
	r := t.byID[id]
	if !r.unlisted {
		t.unlist(r)
	}
	delete(t.byID, id)
	m.used -= r.size()
	if len(t.byID) == 0 {
		delete(m.spaces, space)
	}
}

// unlist takes a row out of the order.
func (t *table) unlist(r *row) {
	i := t.index(r.Position)
	if i == 0 { // the oldest go first, and nothing need be moved for it
		t.order[0] = nil
		t.order = t.order[1:]
		return
	}
	t.order = slices.Delete(t.order, i, i+1)
}

// index is where p is in order, or would be.
func (t *table) index(p Position) int {
	if n := len(t.order); n == 0 || t.order[n-1].Compare(p) < 0 {
		return n
	}
	i, _ := slices.BinarySearchFunc(t.order, p, func(r *row, p Position) int { return r.Compare(p) })
	return i
}

func (m *memory) Delete(ctx context.Context, space, id string) error {
	if err := checkNames(space, id); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx); err != nil {
		return err
	}
	if m.find(space, id) == nil {
		return ErrNotFound
	}
	m.remove(space, id)
	return nil
}

func (m *memory) Extend(ctx context.Context, space string, ids []string, until time.Time) error {
	if err := checkNames(space, ids...); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx); err != nil {
		return err
	}
	to := millis(until)
	for _, id := range ids {
		r := m.find(space, id)
		if r == nil || r.expires == 0 || r.expires >= to {
			continue
		}
		longer := &row{r.Entry, to, r.unlisted}
		t := m.spaces[space]
		t.byID[id] = longer
		if !r.unlisted {
			t.order[t.index(r.Position)] = longer
		}
	}
	return nil
}

func (m *memory) List(ctx context.Context, space string, p Page) ([]Entry, error) {
	if err := checkNames(space); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if err := m.ready(ctx); err != nil {
		return nil, err
	}
	t := m.spaces[space]
	if t == nil {
		return nil, nil
	}
	i, step := 0, 1
	if p.Reverse {
		i, step = len(t.order)-1, -1
	}
	if p.After != (Position{}) {
		i = t.index(p.After)
		switch found := i < len(t.order) && t.order[i].Position == p.After; {
		case p.Reverse:
			i--
		case found:
			i++
		}
	}
	now := time.Now().UnixMilli()
	var page []Entry
	for ; i >= 0 && i < len(t.order) && len(page) < p.limit(); i += step {
		if r := t.order[i]; r.alive(now) {
			page = append(page, r.Entry)
		}
	}
	return page, nil
}

func (m *memory) Room() (free, bound int64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.max - m.used, m.max
}

func (m *memory) Ping(ctx context.Context) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.ready(ctx)
}

// sweep drops what has expired, one space at a time so that nobody waits for all of it.
func (m *memory) sweep() {
	m.mu.RLock()
	spaces := slices.Collect(maps.Keys(m.spaces))
	m.mu.RUnlock()
	for _, space := range spaces {
		m.sweepSpace(space)
	}
}

func (m *memory) sweepSpace(space string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.spaces[space]
	if t == nil {
		return
	}
	now := time.Now().UnixMilli()
	t.order = slices.DeleteFunc(t.order, func(r *row) bool { return !r.alive(now) })
	for id, r := range t.byID {
		if !r.alive(now) {
			delete(t.byID, id)
			m.used -= r.size()
		}
	}
	if len(t.byID) == 0 {
		delete(m.spaces, space)
	}
}

// Interface guards
var (
	_ Module                = (*Memory)(nil)
	_ Bounded               = (*memoryShare)(nil)
	_ caddy.Provisioner     = (*Memory)(nil)
	_ caddy.Validator       = (*Memory)(nil)
	_ caddyfile.Unmarshaler = (*Memory)(nil)
)
