package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// In Redis a value is a plain string named <prefix><space>:<id>, which is where the original keeps its keys, and the
// order of a space is a sorted set named <prefix>idx:<space>: (no value's name ends in a colon). The value is written
// first and is what counts; the set is put right by List, by repair and by the next write.
//
// Every script touches one key, so that all of this works in a cluster. Scripts compare raw strings: cjson would turn
// [] into {} and round integers beyond 2^53. They are sent as text each time, some hundred bytes: a Redis that was
// restarted knows no SHA.
const (
	// swapScript: KEYS value; ARGV old, new (empty: none), ms to live (0: for ever), channel (empty: none), id.
	// Returns 1: done; 0: something else is there.
	swapScript = `
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2])
  if ARGV[3] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
end
if ARGV[4] ~= '' then redis.pcall('PUBLISH', ARGV[4], ARGV[5]) end
return 1`

	// extendScript: KEYS anything that expires; ARGV ms to live.
	extendScript = `
local ttl = redis.call('PTTL', KEYS[1])
if ttl >= 0 and tonumber(ARGV[1]) > ttl then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return 1`
)

const (
	redisTimeout = time.Second            // of one operation, whatever it consists of
	waitReplicas = 100 * time.Millisecond // for min_replicas
	skewWarning  = 2 * time.Second
	skewError    = 30 * time.Second
)

// redisDB is one Redis, shared by all who opened it.
type redisDB struct {
	client  redis.UniversalClient
	cluster *redis.ClusterClient // client, if it is a cluster
	prefix  string
	address string // for logs
	minimum int    // replicas
	worker  *worker
	breaker breaker
	closed  atomic.Bool

	mu      sync.Mutex
	indexed map[string]func([]byte) (int64, bool) // spaces given to KeepIndexed
	wake    chan struct{}                         // repair now
}

func newRedisDB(client redis.UniversalClient, r *Redis) *redisDB {
	setRedisLog()
	db := &redisDB{
		client: client, prefix: r.Prefix, address: redact(r.URL), minimum: r.MinReplicas, worker: newWorker(),
		indexed: map[string]func([]byte) (int64, bool){}, wake: make(chan struct{}, 1),
	}
	db.cluster, _ = client.(*redis.ClusterClient)
	db.breaker.changed = func(open bool, err error) {
		if open {
			log("redis").Error("redis does not answer", zap.String("url", db.address), zap.Error(err))
			return
		}
		log("redis").Info("redis answers again", zap.String("url", db.address))
	}
	db.worker.wg.Go(db.maintain)
	return db
}

// Destruct ends the goroutines and closes the connections. The pool calls it when the last share is closed.
func (db *redisDB) Destruct() error {
	db.closed.Store(true)
	db.worker.stop()
	return db.client.Close()
}

func (db *redisDB) name(space, id string) string { return db.prefix + space + ":" + id }

func (db *redisDB) names(space string, ids []string) []string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = db.name(space, id)
	}
	return names
}

// do runs one operation: not at all while the breaker is open, at most a second, and with every failure told as what
// it is to the caller. Anything that Redis does not answer is ErrUnavailable.
func (db *redisDB) do(ctx context.Context, f func(context.Context) error) error {
	if db.closed.Load() {
		return ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := db.breaker.enter(); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnavailable, db.address, err)
	}
	limited, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	err := f(limited)
	db.breaker.leave(verdict(ctx, err), err)
	switch {
	case err == nil:
		return nil
	case isOwn(err):
		return err
	case db.closed.Load() || errors.Is(err, redis.ErrClosed):
		return ErrClosed
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, db.address, err)
}

func isOwn(err error) bool {
	return errors.Is(err, ErrNotFound) || errors.Is(err, ErrConflict) || errors.Is(err, ErrNotDurable) || errors.Is(err, ErrClockSkew)
}

// verdict is what an operation's end says about Redis.
func verdict(ctx context.Context, err error) health {
	if _, replied := errors.AsType[redis.Error](err); err == nil || replied || isOwn(err) {
		return healthy
	}
	deadline, limited := ctx.Deadline() // a socket's deadline passes a moment before the context notices its own
	if ctx.Err() != nil || (limited && !time.Now().Before(deadline)) || errors.Is(err, redis.ErrPoolTimeout) {
		return unknown // the caller left, or there were too many callers
	}
	return sick
}

// read is do for what may be asked twice: a pooled connection that Redis has closed meanwhile shows itself only when it
// is used. Writes are never repeated, because whether the first attempt was made is not known.
func (db *redisDB) read(ctx context.Context, f func(context.Context) error) error {
	return db.do(ctx, func(ctx context.Context) error {
		err := f(ctx)
		if verdict(ctx, err) == sick && !isTimeout(err) {
			return f(ctx)
		}
		return err
	})
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && t.Timeout()
}

func (db *redisDB) Get(ctx context.Context, space, id string) (value []byte, err error) {
	if err := checkNames(space, id); err != nil {
		return nil, err
	}
	err = db.read(ctx, func(ctx context.Context) error {
		value, err = db.client.Get(ctx, db.name(space, id)).Bytes()
		if errors.Is(err, redis.Nil) {
			return ErrNotFound
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return value, nil
}

func (db *redisDB) GetMany(ctx context.Context, space string, ids []string) (values [][]byte, err error) {
	if err := checkNames(space, ids...); err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, ctx.Err()
	}
	err = db.read(ctx, func(ctx context.Context) error {
		values, err = db.getMany(ctx, db.names(space, ids))
		return err
	})
	return values, err
}

// getMany is MGET, or in a cluster, whose nodes refuse an MGET across slots, a pipeline to each node.
func (db *redisDB) getMany(ctx context.Context, names []string) ([][]byte, error) {
	values := make([][]byte, len(names))
	if db.cluster == nil {
		replies, err := db.client.MGet(ctx, names...).Result()
		if err != nil {
			return nil, err
		}
		for i, r := range replies {
			if s, ok := r.(string); ok {
				values[i] = []byte(s)
			}
		}
		return values, nil
	}
	replies, err := db.cluster.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, name := range names {
			p.Get(ctx, name)
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	for i, r := range replies {
		value, err := r.(*redis.StringCmd).Bytes()
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, err
		}
		values[i] = value
	}
	return values, nil
}

func (db *redisDB) Swap(ctx context.Context, c Change) error {
	if err := c.check(); err != nil {
		return err
	}
	var channel string
	if c.Announce {
		channel = db.channel(c.Space)
	}
	live := toLive(c.Expires)
	err := db.do(ctx, func(ctx context.Context) error {
		reply, err := db.write(ctx, swapScript, db.name(c.Space, c.ID), c.Old, c.New, live, channel, c.ID)
		if err != nil && !errors.Is(err, ErrNotDurable) {
			return err
		}
		if reply == 1 {
			return err
		}
		return ErrConflict
	})
	if err != nil && !errors.Is(err, ErrNotDurable) {
		return err
	}
	if c.New == nil {
		db.unindex(ctx, c.Space, c.ID)
	} else {
		db.index(ctx, c.Space, Position{c.Score, c.ID}, live)
	}
	return err
}

// write runs a script that writes, once: a write that is repeated would find its own result and take it for somebody
// else's. go-redis's cluster client repeats what it has no reply to, so in a cluster the key's node is asked directly,
// and again only if it has said that it is not, or no longer, the one.
func (db *redisDB) write(ctx context.Context, script, name string, args ...any) (int64, error) {
	if db.cluster == nil {
		return db.writeOn(ctx, db.client, script, name, args...)
	}
	for try := 0; ; try++ {
		master, err := db.cluster.MasterForKey(ctx, name)
		if err != nil {
			return 0, err
		}
		reply, err := db.writeOn(ctx, master, script, name, args...)
		if _, asking := redis.IsAskError(err); asking { // the slot is on its way; only the cluster client can follow it
			return db.client.Eval(ctx, script, []string{name}, args...).Int64()
		}
		if _, moved := redis.IsMovedError(err); !moved || try == 3 {
			return reply, err
		}
		db.cluster.ReloadState(ctx)
		time.Sleep(10 * time.Millisecond << try)
	}
}

// writeOn runs a script on one node, and waits for its replicas if they are wanted. WAIT counts those that have the
// writes of its own connection, so both go through one.
func (db *redisDB) writeOn(ctx context.Context, node redis.Cmdable, script, name string, args ...any) (int64, error) {
	if db.minimum == 0 {
		return node.Eval(ctx, script, []string{name}, args...).Int64()
	}
	var done, confirmed *redis.Cmd
	_, err := node.Pipelined(ctx, func(p redis.Pipeliner) error {
		done = p.Eval(ctx, script, []string{name}, args...)
		confirmed = p.Do(ctx, "WAIT", db.minimum, waitReplicas.Milliseconds())
		return nil
	})
	reply, evalErr := done.Int64()
	if evalErr != nil {
		return 0, errors.Join(evalErr, err)
	}
	if n, err := confirmed.Int64(); err != nil || n < int64(db.minimum) {
		return reply, fmt.Errorf("%w: %d of %d", ErrNotDurable, n, db.minimum)
	}
	return reply, nil
}

// toLive is what is left until t in ms, 0 for ever. A time that is past is -1. Redis is told durations, not times, so
// that its clock does not matter.
func toLive(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	if left := time.Until(t); left > 0 {
		return int64((left + time.Millisecond - 1) / time.Millisecond)
	}
	return -1
}

func (db *redisDB) Delete(ctx context.Context, space, id string) error {
	if err := checkNames(space, id); err != nil {
		return err
	}
	err := db.do(ctx, func(ctx context.Context) error {
		n, err := db.client.Del(ctx, db.name(space, id)).Result()
		if err == nil && n == 0 {
			return ErrNotFound
		}
		return err
	})
	if err == nil {
		db.unindex(ctx, space, id)
	}
	return err
}

func (db *redisDB) Extend(ctx context.Context, space string, ids []string, until time.Time) error {
	if err := checkNames(space, ids...); err != nil {
		return err
	}
	live := toLive(until)
	if db.closed.Load() {
		return ErrClosed
	}
	if len(ids) == 0 || live < 0 {
		return ctx.Err()
	}
	return db.read(ctx, func(ctx context.Context) error { // twice is once, so it may be repeated
		_, err := db.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, id := range ids {
				p.Eval(ctx, extendScript, []string{db.name(space, id)}, live)
			}
			p.Eval(ctx, extendScript, []string{db.indexName(space)}, live)
			return nil
		})
		return err
	})
}

// Ping asks Redis for the time, and compares it: expiry is decided by each gateway's own clock, and if one is wrong a
// key lives longer on it.
func (db *redisDB) Ping(ctx context.Context) error {
	skew, err := db.skew(ctx)
	if err == nil && (skew > skewError || skew < -skewError) {
		return fmt.Errorf("%w: redis at %s is %s away from this machine; set both by NTP", ErrClockSkew, db.address, skew.Round(time.Second))
	}
	return err
}

func (db *redisDB) skew(ctx context.Context) (skew time.Duration, err error) {
	err = db.read(ctx, func(ctx context.Context) error {
		asked := time.Now()
		theirs, err := db.client.Time(ctx).Result()
		if err != nil {
			return err
		}
		half := time.Since(asked) / 2
		skew = theirs.Sub(asked.Add(half))
		return nil
	})
	return skew, err
}
