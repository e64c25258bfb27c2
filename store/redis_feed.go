package store

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	feedIdle = time.Second     // without news, ask whether the connection is alive
	feedDead = 3 * time.Second // without an answer, it is not
)

// channel is where changes of a space are announced: chat2response:keys:inval.
func (db *redisDB) channel(space string) string { return db.prefix + space + ":inval" }

// Watch runs one goroutine and one connection until stop is called or the store is closed.
func (db *redisDB) Watch(space string, f func(id string)) (stop func()) {
	ctx, cancel := context.WithCancel(db.worker.ctx)
	if db.closed.Load() {
		return cancel
	}
	db.worker.wg.Go(func() {
		wait := 50 * time.Millisecond
		for ctx.Err() == nil {
			begun := time.Now()
			db.listen(ctx, db.channel(space), f)
			if time.Since(begun) > time.Minute {
				wait = 50 * time.Millisecond
			}
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
			wait = min(2*wait, time.Second)
		}
	})
	return cancel
}

// listen subscribes, says that changes may have been missed, and passes on what comes until the connection ends.
func (db *redisDB) listen(ctx context.Context, channel string, f func(string)) {
	sub := db.client.Subscribe(ctx)
	defer sub.Close()
	defer context.AfterFunc(ctx, func() { _ = sub.Close() })() // a read does not end with its context
	if err := sub.Subscribe(ctx, channel); err != nil {
		return
	}
	heard := time.Now()
	for ctx.Err() == nil {
		message, err := sub.ReceiveTimeout(ctx, feedIdle)
		if err != nil {
			if !isTimeout(err) || errors.Is(err, redis.ErrClosed) || time.Since(heard) > feedDead || sub.Ping(ctx) != nil {
				return
			}
			continue
		}
		heard = time.Now()
		switch m := message.(type) {
		case *redis.Subscription:
			f("")
		case *redis.Message:
			f(m.Payload)
		}
	}
}
