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
// A script touches one key, or several whose spaces have their braces in common, so that all of this works in a
// cluster; with the latter, values and their order are changed in one step. Scripts compare raw strings: cjson would
// turn [] into {} and round integers beyond 2^53. They are sent as text each time, some hundred bytes: a Redis that was
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

	// dropScript is swapScript for a removal of whatever is there, with the same arguments.
	dropScript = `
redis.call('DEL', KEYS[1])
if ARGV[4] ~= '' then redis.pcall('PUBLISH', ARGV[4], ARGV[5]) end
return 1`

	// extendScript: KEYS any that expire; ARGV ms to live.
	extendScript = `
local live = tonumber(ARGV[1])
for _, key in ipairs(KEYS) do
  local ttl = redis.call('PTTL', key)
  if ttl >= 0 and live > ttl then redis.call('PEXPIRE', key, ARGV[1]) end
end
return 1`
)

const (
	redisTimeout = time.Second            // of one operation, whatever it consists of
	redisChange  = 100 * time.Microsecond // more than that, for each change of a large SwapMany
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
	return db.doWithin(ctx, redisTimeout, f)
}

func (db *redisDB) doWithin(ctx context.Context, most time.Duration, f func(context.Context) error) error {
	if db.closed.Load() {
		return ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := db.breaker.enter(); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnavailable, db.address, err)
	}
	limited, cancel := context.WithTimeout(ctx, most)
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
	if tag(c.Space) != "" {
		return one(db.SwapMany(ctx, []Change{c}))
	}
	if err := c.check(); err != nil {
		return err
	}
	var channel string
	if c.Announce {
		channel = db.channel(c.Space)
	}
	live := toLive(c.Expires)
	script := swapScript
	if c.Drop {
		script = dropScript
	}
	err := db.do(ctx, func(ctx context.Context) error {
		reply, err := db.write(ctx, 0, script, []string{db.name(c.Space, c.ID)}, c.Old, c.New, live, channel, c.ID).int64()
		if err != nil && !errors.Is(err, ErrNotDurable) {
			return err
		}
		if reply == 1 {
			return err
		}
		return ErrConflict
	})
	if err != nil && !errors.Is(err, ErrNotDurable) || c.Unlisted {
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
// and again only if it has said that it is not, or no longer, the one. patience, if it is not 0, is how long an answer
// may take in place of read_timeout.
func (db *redisDB) write(ctx context.Context, patience time.Duration, script string, names []string, args ...any) reply {
	if db.cluster == nil {
		return db.writeOn(ctx, patient(db.client, patience), script, names, args...)
	}
	for try := 0; ; try++ {
		master, err := db.cluster.MasterForKey(ctx, names[0])
		if err != nil {
			return reply{err: err}
		}
		r := db.writeOn(ctx, patient(master, patience), script, names, args...)
		if _, asking := redis.IsAskError(r.err); asking { // the slot is on its way; only the cluster client can follow it
			return reply{cmd: db.client.Eval(ctx, script, names, args...)}
		}
		if _, moved := redis.IsMovedError(r.err); !moved || try == 3 {
			return r
		}
		db.cluster.ReloadState(ctx)
		time.Sleep(10 * time.Millisecond << try)
	}
}

// patient is a client that waits so long for an answer; 0: as long as it does anyway.
func patient(c redis.Cmdable, wait time.Duration) redis.Cmdable {
	if one, ok := c.(*redis.Client); ok && wait > 0 {
		return one.WithTimeout(wait)
	}
	return c
}

// writeOn runs a script on one node, and waits for its replicas if they are wanted. WAIT counts those that have the
// writes of its own connection, so both go through one.
func (db *redisDB) writeOn(ctx context.Context, node redis.Cmdable, script string, names []string, args ...any) reply {
	if db.minimum == 0 {
		done := node.Eval(ctx, script, names, args...)
		return reply{done, done.Err()}
	}
	var done, confirmed *redis.Cmd
	_, err := node.Pipelined(ctx, func(p redis.Pipeliner) error {
		done = p.Eval(ctx, script, names, args...)
		confirmed = p.Do(ctx, "WAIT", db.minimum, waitReplicas.Milliseconds())
		return nil
	})
	if done.Err() != nil {
		return reply{done, errors.Join(done.Err(), err)}
	}
	if n, err := confirmed.Int64(); err != nil || n < int64(db.minimum) {
		return reply{done, fmt.Errorf("%w: %d of %d", ErrNotDurable, n, db.minimum)}
	}
	return reply{cmd: done}
}

// reply is what a script has answered, and ErrNotDurable if it wrote and too few replicas know.
type reply struct {
	cmd *redis.Cmd
	err error
}

func (r reply) int64() (int64, error) {
	if r.err != nil && !errors.Is(r.err, ErrNotDurable) {
		return 0, r.err
	}
	n, err := r.cmd.Int64()
	return n, errors.Join(err, r.err)
}

func (r reply) int64s() ([]int64, error) {
	if r.err != nil && !errors.Is(r.err, ErrNotDurable) {
		return nil, r.err
	}
	n, err := r.cmd.Int64Slice()
	return n, errors.Join(err, r.err)
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
		if tag(space) != "" {
			return db.client.Eval(ctx, extendScript, append(db.names(space, ids), db.indexName(space)), live).Err()
		}
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
