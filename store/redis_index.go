package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

const (
	// addScript files a value: KEYS index; ARGV score, id, ms to live (0: for ever). The index lives as long as what
	// lives longest in it, so that a space nobody uses any more leaves nothing behind.
	addScript = `
local ttl = redis.call('PTTL', KEYS[1])
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
if ARGV[3] == '0' then
  redis.call('PERSIST', KEYS[1])
elseif ttl == -2 or (ttl >= 0 and tonumber(ARGV[3]) > ttl) then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 1`

	// takeScript takes ids out: KEYS index; ARGV ids. Returns the score that each had, or "".
	takeScript = `
local scores = {}
for i, id in ipairs(ARGV) do
  scores[i] = redis.call('ZSCORE', KEYS[1], id) or ''
  redis.call('ZREM', KEYS[1], id)
end
return scores`

	// pageScript lists: KEYS index; ARGV score and id to go on after (id empty: from the start), limit, 1 for reverse.
	// An id that is not there is put there for a moment to learn where it would be: among many of one score nothing
	// else in Redis knows that in less than linear time.
	pageScript = `
local rank, range = 'ZRANK', 'ZRANGE'
if ARGV[4] == '1' then rank, range = 'ZREVRANK', 'ZREVRANGE' end
local from = 0
if ARGV[2] ~= '' then
  local now = redis.call('ZSCORE', KEYS[1], ARGV[2])
  local guest = not now or tonumber(now) ~= tonumber(ARGV[1])
  if guest then redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2]) end
  from = redis.call(rank, KEYS[1], ARGV[2]) + 1
  if not guest then return redis.call(range, KEYS[1], from, from + ARGV[3] - 1, 'WITHSCORES') end
  local page = redis.call(range, KEYS[1], from, from + ARGV[3] - 1, 'WITHSCORES')
  if now then redis.call('ZADD', KEYS[1], now, ARGV[2]) else redis.call('ZREM', KEYS[1], ARGV[2]) end
  return page
end
return redis.call(range, KEYS[1], 0, ARGV[3] - 1, 'WITHSCORES')`
)

const (
	repairEvery = 10 * time.Minute
	trimEvery   = 6 // repairs
	scanCount   = 1000
	scanPause   = 5 * time.Millisecond
)

func (db *redisDB) indexName(space string) string { return db.prefix + "idx:" + space + ":" }

// index files a value that was written. The write stands whether or not this works; if not, repair is called.
func (db *redisDB) index(ctx context.Context, space string, p Position, live int64) {
	err := db.do(context.WithoutCancel(ctx), func(ctx context.Context) error {
		return db.client.Eval(ctx, addScript, []string{db.indexName(space)}, p.Score, p.ID, live).Err()
	})
	if err != nil {
		log("redis").Warn("a value was written and could not be filed; it is not listed until the next repair",
			zap.String("space", space), zap.String("id", p.ID), zap.Error(err))
		db.repairSoon()
	}
}

// unindex takes out ids whose values are gone. Somebody may have made such a value again meanwhile, and filed it: so
// look after taking it out, and put it back.
func (db *redisDB) unindex(ctx context.Context, space string, ids ...string) {
	err := db.do(context.WithoutCancel(ctx), func(ctx context.Context) error {
		args := make([]any, len(ids))
		for i, id := range ids {
			args[i] = id
		}
		scores, err := db.client.Eval(ctx, takeScript, []string{db.indexName(space)}, args...).StringSlice()
		if err != nil {
			return err
		}
		exist, err := db.exist(ctx, db.names(space, ids))
		if err != nil {
			return err
		}
		for i, id := range ids {
			score, err := strconv.ParseFloat(scores[i], 64)
			if !exist[i] || err != nil {
				continue
			}
			if err := db.client.ZAddNX(ctx, db.indexName(space), redis.Z{Score: score, Member: id}).Err(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		log("redis").Debug("ids of removed values stay filed until they are next listed", zap.String("space", space), zap.Error(err))
	}
}

func (db *redisDB) exist(ctx context.Context, names []string) ([]bool, error) {
	exist := make([]bool, len(names))
	replies, err := db.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, name := range names {
			p.Exists(ctx, name)
		}
		return nil
	})
	for i, r := range replies {
		exist[i] = r.(*redis.IntCmd).Val() > 0
	}
	return exist, err
}

func (db *redisDB) List(ctx context.Context, space string, p Page) ([]Entry, error) {
	if err := checkNames(space); err != nil {
		return nil, err
	}
	var page []Entry
	for {
		want := p.limit() - len(page)
		positions, err := db.positions(ctx, space, Page{p.After, want, p.Reverse})
		if err != nil {
			return nil, err
		}
		ids := make([]string, len(positions))
		for i, at := range positions {
			ids[i] = at.ID
		}
		values, err := db.GetMany(ctx, space, ids)
		if err != nil {
			return nil, err
		}
		var gone []string
		for i, at := range positions {
			p.After = at
			if values[i] == nil {
				gone = append(gone, at.ID)
				continue
			}
			page = append(page, Entry{at, values[i]})
		}
		if len(gone) > 0 {
			db.unindex(ctx, space, gone...)
		}
		if len(positions) < want || len(page) == p.limit() {
			return page, nil
		}
	}
}

func (db *redisDB) positions(ctx context.Context, space string, p Page) (positions []Position, err error) {
	reverse := 0
	if p.Reverse {
		reverse = 1
	}
	err = db.read(ctx, func(ctx context.Context) error {
		flat, err := db.client.Eval(ctx, pageScript, []string{db.indexName(space)}, p.After.Score, p.After.ID, p.limit(), reverse).StringSlice()
		if err != nil {
			return err
		}
		positions = make([]Position, 0, len(flat)/2)
		for i := 0; i+1 < len(flat); i += 2 {
			score, err := strconv.ParseFloat(flat[i+1], 64)
			if err != nil {
				return fmt.Errorf("score of %s: %w", flat[i], err)
			}
			positions = append(positions, Position{int64(score), flat[i]})
		}
		return nil
	})
	return positions, err
}

// KeepIndexed makes repair look after space, now and every 10 minutes.
func (db *redisDB) KeepIndexed(space string, f func([]byte) (int64, bool)) {
	db.mu.Lock()
	db.indexed[space] = f
	db.mu.Unlock()
	db.repairSoon()
}

func (db *redisDB) repairSoon() {
	select {
	case db.wake <- struct{}{}:
	default:
	}
}

// maintain is the goroutine that looks after the order and the server. While Redis does not answer it tries again
// after 1 s, 2 s, … 30 s.
func (db *redisDB) maintain() {
	ctx := db.worker.ctx
	checked := false
	wait := time.Second
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-db.wake:
		case <-time.After(wait):
		}
		err := db.repair(ctx)
		if err == nil && n%trimEvery == 0 {
			err = db.trim(ctx)
		}
		if err == nil && !checked {
			db.inspect(ctx)
			checked = true
		}
		if skew, skewErr := db.skew(ctx); skewErr == nil && (skew > skewWarning || skew < -skewWarning) {
			log("redis").Warn("redis's clock and this machine's differ; keys expire by this machine's", zap.String("url", db.address), zap.Duration("difference", skew))
		}
		if err != nil {
			wait = min(max(wait*2, time.Second), 30*time.Second)
			continue
		}
		wait = repairEvery
	}
}

// repair files what other programs have written into the spaces of KeepIndexed. It uses SCAN, which lets others in
// between, never KEYS, which stops the server for as long as it runs.
func (db *redisDB) repair(ctx context.Context) error {
	db.mu.Lock()
	spaces := make(map[string]func([]byte) (int64, bool), len(db.indexed))
	for space, f := range db.indexed {
		spaces[space] = f
	}
	db.mu.Unlock()
	for space, score := range spaces {
		head := db.name(space, "")
		err := db.scan(ctx, head, func(ctx context.Context, names []string) error {
			var ids []string
			for _, name := range names {
				if id := strings.TrimPrefix(name, head); checkNames(space, id) == nil {
					ids = append(ids, id)
				}
			}
			return db.file(ctx, space, ids, score)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// file puts those ids into the index that are not there.
func (db *redisDB) file(ctx context.Context, space string, ids []string, score func([]byte) (int64, bool)) error {
	if len(ids) == 0 {
		return nil
	}
	var missing []string
	err := db.read(ctx, func(ctx context.Context) error {
		missing = missing[:0]
		replies, err := db.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, id := range ids {
				p.ZScore(ctx, db.indexName(space), id)
			}
			return nil
		})
		for i, r := range replies {
			if errors.Is(r.Err(), redis.Nil) {
				missing = append(missing, ids[i])
			}
		}
		if errors.Is(err, redis.Nil) {
			return nil
		}
		return err
	})
	if err != nil || len(missing) == 0 {
		return err
	}
	values, err := db.GetMany(ctx, space, missing)
	if err != nil {
		return err
	}
	var found []redis.Z
	for i, id := range missing {
		if values[i] == nil {
			continue
		}
		if s, ok := score(values[i]); ok {
			found = append(found, redis.Z{Score: float64(s), Member: id})
		}
	}
	if len(found) == 0 {
		return nil
	}
	log("redis").Info("values that other programs have written are listed from now on", zap.String("space", space), zap.Int("values", len(found)))
	return db.do(ctx, func(ctx context.Context) error {
		return db.client.ZAddNX(ctx, db.indexName(space), found...).Err()
	})
}

// trim takes out of every index what has expired since.
func (db *redisDB) trim(ctx context.Context) error {
	head := db.prefix + "idx:"
	return db.scan(ctx, head, func(ctx context.Context, names []string) error {
		for _, name := range names {
			space, isIndex := strings.CutSuffix(strings.TrimPrefix(name, head), ":")
			if !isIndex || checkNames(space) != nil {
				continue
			}
			for p := (Page{Limit: MaxPage}); ; {
				positions, err := db.positions(ctx, space, p)
				if err != nil {
					return err
				}
				if err := db.trimPage(ctx, space, positions); err != nil {
					return err
				}
				if len(positions) < p.Limit {
					break
				}
				p.After = positions[len(positions)-1]
			}
		}
		return nil
	})
}

func (db *redisDB) trimPage(ctx context.Context, space string, positions []Position) error {
	if len(positions) == 0 {
		return nil
	}
	names := make([]string, len(positions))
	for i, p := range positions {
		names[i] = db.name(space, p.ID)
	}
	var exist []bool
	err := db.read(ctx, func(ctx context.Context) (err error) {
		exist, err = db.exist(ctx, names)
		return err
	})
	if err != nil {
		return err
	}
	var gone []string
	for i, p := range positions {
		if !exist[i] {
			gone = append(gone, p.ID)
		}
	}
	if len(gone) > 0 {
		db.unindex(ctx, space, gone...)
	}
	return nil
}

// scan calls f with the names that begin with head, some at a time, on every master.
func (db *redisDB) scan(ctx context.Context, head string, f func(context.Context, []string) error) error {
	pattern := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(head) + "*"
	node := func(ctx context.Context, c redis.Cmdable) error {
		for cursor := uint64(0); ; {
			var names []string
			err := db.read(ctx, func(ctx context.Context) (err error) {
				names, cursor, err = c.Scan(ctx, cursor, pattern, scanCount).Result()
				return err
			})
			if err != nil {
				return err
			}
			if err := f(ctx, names); err != nil {
				return err
			}
			if cursor == 0 {
				return nil
			}
			select { // leave Redis, and this machine, to those who are waiting for them
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(scanPause):
			}
		}
	}
	if db.cluster != nil {
		return db.cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return node(ctx, c) })
	}
	return node(ctx, db.client)
}

// inspect warns of settings under which Redis forgets keys. A Redis that does not let us see them is taken on trust.
func (db *redisDB) inspect(ctx context.Context) {
	warn := func(text string, fields ...zap.Field) {
		log("redis").Warn(text, append(fields, zap.String("url", db.address))...)
	}
	_ = db.read(ctx, func(ctx context.Context) error {
		if v, err := db.client.ConfigGet(ctx, "maxmemory-policy").Result(); err == nil && v["maxmemory-policy"] != "" && v["maxmemory-policy"] != "noeviction" {
			warn("redis may evict keys and revocations when it is full; set maxmemory-policy noeviction", zap.String("maxmemory_policy", v["maxmemory-policy"]))
		}
		if v, err := db.client.ConfigGet(ctx, "appendonly").Result(); err == nil && v["appendonly"] == "no" {
			warn("redis may lose the last minutes when it stops; set appendonly yes (and appendfsync always to lose nothing)")
		}
		if v, err := db.client.Info(ctx, "replication").Result(); err == nil && strings.Contains(v, "role:slave") {
			warn("redis is a replica, which cannot be written to")
		}
		return nil
	})
}
