package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	"go.uber.org/zap"
)

// The file has four buckets:
//
//	meta    "format" "1"; "id" the store's name for itself; "finals" how many Final changes it has seen
//	data    space 0 id            → score, expiry, value
//	order   space 0 score id      → nothing; none of a value whose score is unlistedScore
//	expiry  milliseconds, data's key → nothing
//
// Numbers are 8 bytes, big-endian, the score with its sign bit turned so that bytes sort as numbers do.
var (
	metaBucket   = []byte("meta")
	dataBucket   = []byte("data")
	orderBucket  = []byte("order")
	expiryBucket = []byte("expiry")

	formatKey = []byte("format")
	idKey     = []byte("id")
	finalsKey = []byte("finals")
)

const (
	boltFormat = "1"
	headerSize = 16
	// unlistedScore is no score (those end at 2^53), but that of a value with no place in the order.
	unlistedScore = math.MinInt64
	sweepMost     = 1000 // expired values removed in one transaction
)

type buckets struct{ meta, data, order, expiry *bbolt.Bucket }

func openBuckets(tx *bbolt.Tx) *buckets {
	return &buckets{tx.Bucket(metaBucket), tx.Bucket(dataBucket), tx.Bucket(orderBucket), tx.Bucket(expiryBucket)}
}

func dataKey(space, id string) []byte {
	k := make([]byte, 0, len(space)+1+len(id))
	k = append(k, space...)
	k = append(k, 0)
	return append(k, id...)
}

func orderKey(space string, p Position) []byte {
	k := make([]byte, 0, len(space)+9+len(p.ID))
	k = append(k, space...)
	k = append(k, 0)
	k = binary.BigEndian.AppendUint64(k, uint64(p.Score)^(1<<63))
	return append(k, p.ID...)
}

func expiryKey(at int64, dataKey []byte) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(dataKey)), uint64(at)), dataKey...)
}

// stored is a value as data keeps it. Its bytes belong to the transaction.
type stored []byte

func (s stored) score() int64   { return int64(binary.BigEndian.Uint64(s)) }
func (s stored) expires() int64 { return int64(binary.BigEndian.Uint64(s[8:])) }
func (s stored) value() []byte  { return s[headerSize:] }

// get returns what is at key, expired or not; nil if nothing.
func (b *buckets) get(key []byte) stored {
	v := b.data.Get(key)
	if len(v) <= headerSize {
		return nil
	}
	return v
}

func alive(s stored, now int64) bool {
	return s != nil && (s.expires() == 0 || now < s.expires())
}

// put makes what is at (space, p.ID) this value, writing only what is not so already.
func (b *buckets) put(space string, p Position, expires int64, value []byte) error {
	key := dataKey(space, p.ID)
	return b.replace(key, b.get(key), space, p, expires, value)
}

// replace is put where old is known to be what stands at key, expired or not; nil: nothing.
func (b *buckets) replace(key []byte, old stored, space string, p Position, expires int64, value []byte) error {
	if old != nil && old.score() == p.Score && old.expires() == expires && bytes.Equal(old.value(), value) {
		return nil
	}
	// Before data.Put, for old is in the page that it changes.
	if old != nil && old.score() != p.Score {
		if err := b.unlist(space, Position{old.score(), p.ID}); err != nil {
			return err
		}
	}
	if p.Score != unlistedScore && (old == nil || old.score() != p.Score) {
		if err := b.order.Put(orderKey(space, p), nil); err != nil {
			return err
		}
	}
	if old != nil && old.expires() != expires {
		if err := b.neverExpire(old, key); err != nil {
			return err
		}
	}
	if expires != 0 && (old == nil || old.expires() != expires) {
		if err := b.expiry.Put(expiryKey(expires, key), nil); err != nil {
			return err
		}
	}
	v := make([]byte, 0, headerSize+len(value))
	v = binary.BigEndian.AppendUint64(v, uint64(p.Score))
	v = binary.BigEndian.AppendUint64(v, uint64(expires))
	return b.data.Put(key, append(v, value...))
}

func (b *buckets) unlist(space string, p Position) error {
	if p.Score == unlistedScore {
		return nil
	}
	return b.order.Delete(orderKey(space, p))
}

func (b *buckets) neverExpire(s stored, key []byte) error {
	if s.expires() == 0 {
		return nil
	}
	return b.expiry.Delete(expiryKey(s.expires(), key))
}

func (b *buckets) remove(space, id string) error {
	key := dataKey(space, id)
	old := b.get(key)
	if old == nil {
		return nil
	}
	if err := b.neverExpire(old, key); err != nil {
		return err
	}
	if err := b.unlist(space, Position{old.score(), id}); err != nil {
		return err
	}
	return b.data.Delete(key)
}

// swap makes a change that wins. isNew says that nothing stands there, not even what has expired.
func (b *buckets) swap(c *Change, isNew bool) error {
	if c.New == nil {
		return b.remove(c.Space, c.ID)
	}
	score := c.Score
	if c.Unlisted {
		score = unlistedScore
	}
	if isNew {
		return b.replace(dataKey(c.Space, c.ID), nil, c.Space, Position{score, c.ID}, millis(c.Expires), c.New)
	}
	return b.put(c.Space, Position{score, c.ID}, millis(c.Expires), c.New)
}

func (b *boltDB) Get(ctx context.Context, space, id string) (value []byte, err error) {
	if err := checkNames(space, id); err != nil {
		return nil, err
	}
	err = b.view(ctx, func(tx *bbolt.Tx) error {
		v := stored(tx.Bucket(dataBucket).Get(dataKey(space, id)))
		if len(v) <= headerSize || !alive(v, time.Now().UnixMilli()) {
			return ErrNotFound
		}
		value = bytes.Clone(v.value())
		return nil
	})
	return value, err
}

func (b *boltDB) GetMany(ctx context.Context, space string, ids []string) ([][]byte, error) {
	if err := checkNames(space, ids...); err != nil {
		return nil, err
	}
	values := make([][]byte, len(ids))
	err := b.view(ctx, func(tx *bbolt.Tx) error {
		buckets, now := openBuckets(tx), time.Now().UnixMilli()
		for i, id := range ids {
			if v := buckets.get(dataKey(space, id)); alive(v, now) {
				values[i] = bytes.Clone(v.value())
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return values, nil
}

func (s *boltShare) Swap(ctx context.Context, c Change) error {
	return one(s.SwapMany(ctx, []Change{c}))
}

func (s *boltShare) SwapMany(ctx context.Context, changes []Change) error {
	if err := checkAll(changes); err != nil || len(changes) == 0 {
		return err
	}
	// In order: bbolt splits its pages only at the end of a transaction, and until then makes room among all that was
	// put in before, which for thousands in any order takes seconds.
	ordered := make([]int, len(changes))
	for i := range changes {
		ordered[i] = i
	}
	slices.SortFunc(ordered, func(i, j int) int {
		a, b := &changes[i], &changes[j]
		return cmp.Or(strings.Compare(a.Space, b.Space), strings.Compare(a.ID, b.ID))
	})
	isNew := make([]bool, len(changes))
	w := &write{sync: s.sync, apply: func(db *buckets) error {
		now := time.Now().UnixMilli()
		var lost []int
		for i := range changes {
			c := &changes[i]
			v := db.get(dataKey(c.Space, c.ID))
			isNew[i] = v == nil
			if !alive(v, now) {
				v = nil
			}
			if v == nil && !c.wins(nil) || v != nil && !c.wins(v.value()) {
				lost = append(lost, i)
			}
		}
		if len(lost) > 0 {
			return conflict(lost)
		}
		for _, i := range ordered {
			if err := db.swap(&changes[i], isNew[i]); err != nil {
				return err
			}
		}
		return nil
	}}
	for i := range changes {
		if changes[i].Final {
			w.finals = append(w.finals, &changes[i])
		}
	}
	return s.update(ctx, w)
}

func (s *boltShare) Delete(ctx context.Context, space, id string) error {
	if err := checkNames(space, id); err != nil {
		return err
	}
	return s.update(ctx, &write{sync: s.sync, apply: func(db *buckets) error {
		if !alive(db.get(dataKey(space, id)), time.Now().UnixMilli()) {
			return ErrNotFound
		}
		return db.remove(space, id)
	}})
}

func (s *boltShare) Extend(ctx context.Context, space string, ids []string, until time.Time) error {
	if err := checkNames(space, ids...); err != nil {
		return err
	}
	to := millis(until)
	return s.update(ctx, &write{sync: s.sync, apply: func(db *buckets) error {
		now := time.Now().UnixMilli()
		for _, id := range ids {
			v := db.get(dataKey(space, id))
			if !alive(v, now) || v.expires() == 0 || v.expires() >= to {
				continue
			}
			if err := db.put(space, Position{v.score(), id}, to, bytes.Clone(v.value())); err != nil {
				return err
			}
		}
		return nil
	}})
}

func (b *boltDB) List(ctx context.Context, space string, p Page) (page []Entry, err error) {
	if err := checkNames(space); err != nil {
		return nil, err
	}
	err = b.view(ctx, func(tx *bbolt.Tx) error {
		db, now := openBuckets(tx), time.Now().UnixMilli()
		prefix := dataKey(space, "")
		c := db.order.Cursor()
		step := c.Next
		if p.Reverse {
			step = c.Prev
		}
		for k := seek(c, space, p); bytes.HasPrefix(k, prefix) && len(page) < p.limit(); k, _ = step() {
			at := k[len(prefix):]
			score, id := int64(binary.BigEndian.Uint64(at)^(1<<63)), string(at[8:])
			if v := db.get(dataKey(space, id)); alive(v, now) {
				page = append(page, Entry{Position{score, id}, bytes.Clone(v.value())})
			}
		}
		return nil
	})
	return page, err
}

// seek puts c on the first entry of the page and returns its key.
func seek(c *bbolt.Cursor, space string, p Page) []byte {
	from := orderKey(space, p.After)
	if p.After == (Position{}) {
		from = dataKey(space, "")
		if p.Reverse {
			from[len(from)-1] = 1 // past the last of the space
		}
	}
	k, _ := c.Seek(from)
	switch {
	case p.Reverse && k == nil:
		k, _ = c.Last()
	case p.Reverse:
		k, _ = c.Prev()
	case bytes.Equal(k, from):
		k, _ = c.Next()
	}
	return k
}

func (b *boltDB) Ping(ctx context.Context) error {
	return b.view(ctx, func(*bbolt.Tx) error { return nil })
}

// sweep removes expired values, at most so many. Readers do not see them anyway.
func (b *boltDB) sweep(most int) error {
	now := time.Now().UnixMilli()
	var found bool
	err := b.view(context.Background(), func(tx *bbolt.Tx) error {
		k, _ := tx.Bucket(expiryBucket).Cursor().First()
		found = k != nil && int64(binary.BigEndian.Uint64(k)) <= now
		return nil
	})
	if err != nil || !found {
		return err // nothing to write, so no fsync either
	}
	return b.update(context.Background(), &write{apply: func(db *buckets) error {
		var dead [][]byte
		c := db.expiry.Cursor()
		for k, _ := c.First(); k != nil && len(dead) < most; k, _ = c.Next() {
			if int64(binary.BigEndian.Uint64(k)) > now {
				break
			}
			dead = append(dead, bytes.Clone(k[8:]))
		}
		for _, key := range dead {
			space, id, _ := bytes.Cut(key, []byte{0})
			if err := db.remove(string(space), string(id)); err != nil {
				return err
			}
		}
		return nil
	}})
}

// walkMost is the largest file that is read through once after opening.
const walkMost = 64 << 20

// walk reads every entry of a small file once, in the background, so that a damaged page is found now and not by a
// user in a week. (bbolt's own Tx.Check runs in a goroutine of its own, where a fault would end the process.)
func (b *boltDB) walk() {
	var entries, wrong int
	err := b.view(b.worker.ctx, func(tx *bbolt.Tx) error {
		if tx.Size() > walkMost {
			return nil
		}
		db := openBuckets(tx)
		c := db.data.Cursor()
		for k, v := c.First(); k != nil && b.worker.ctx.Err() == nil; k, v = c.Next() {
			entries++
			space, id, _ := bytes.Cut(k, []byte{0})
			if len(v) <= headerSize {
				wrong++
				continue
			}
			score := stored(v).score()
			if score != unlistedScore && db.order.Get(orderKey(string(space), Position{score, string(id)})) == nil {
				wrong++
			}
		}
		return nil
	})
	if err == nil && wrong > 0 {
		log("bbolt").Error("values without their place in the order; restore a backup", zap.String("path", b.path),
			zap.Int("entries", entries), zap.Int("wrong", wrong))
	}
}

// Backup writes a consistent copy of the file to w while others read and write. A store that can do so has this
// method; ask by a type assertion for interface{ Backup(context.Context, io.Writer) (int64, error) }.
//
// The copy is made on disk first: a reader at the other end of w, slow or stuck, would otherwise hold a transaction
// open, and with it every write that has to enlarge the file.
func (b *boltDB) Backup(ctx context.Context, w io.Writer) (int64, error) {
	f, err := os.CreateTemp(filepath.Dir(b.path), filepath.Base(b.path)+".backup-")
	if err != nil {
		return 0, fmt.Errorf("bbolt: backup: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	err = b.view(ctx, func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(f)
		return err
	})
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return 0, fmt.Errorf("bbolt: backup of %s: %w", b.path, err)
	}
	return io.Copy(w, f)
}
