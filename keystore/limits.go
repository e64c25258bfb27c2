package keystore

import (
	"math"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits is what a process knows of its keys and no store does, whatever configuration is in force. It counts what keys
// with rpm or max_parallel are doing: n gateways together let n times as much through, and a process that starts anew
// begins with the whole rate. The rate is a bucket that holds rpm requests and fills evenly, so that there is no minute
// at whose turn everybody comes back. It also holds the ends of keys that could not be written, and who watches keys.
type Limits struct {
	mu   sync.Mutex
	keys map[string]*usage // of keys that exist, until they do nothing and have their whole rate again

	held    held
	watches watches
}

type usage struct {
	running uint64
	bucket  *rate.Limiter // nil: no rpm
}

// NewLimits returns Limits under which nothing runs.
func NewLimits() *Limits { return &Limits{keys: map[string]*usage{}} }

// Quota is where a key with rpm stands. The zero Quota is that of a key without.
type Quota struct {
	Limit     uint64        // requests per minute
	Remaining uint64        // that could begin now
	Reset     time.Duration // until Remaining is Limit again
}

// Header gives the values of OpenAI's rate limit headers (platform.openai.com/docs/guides/rate-limits) to set; nothing
// for a key without rpm.
func (q Quota) Header(set func(name, value string)) {
	if q.Limit == 0 {
		return
	}
	set("x-ratelimit-limit-requests", strconv.FormatUint(q.Limit, 10))
	set("x-ratelimit-remaining-requests", strconv.FormatUint(q.Remaining, 10))
	set("x-ratelimit-reset-requests", q.Reset.Round(time.Millisecond).String())
}

// Admit lets one request of the key begin, or returns ErrRateLimited with RetryAfter set. Call release when the request
// has ended: for a stream, when its last byte is out. It may be called more than once. A request that max_parallel
// refuses is not counted against rpm.
func (k *Keys) Admit(key *Key) (release func(), q Quota, err error) {
	return k.Limits.admit(key, k.Now())
}

func nothing() {}

func (l *Limits) admit(key *Key, now time.Time) (func(), Quota, error) {
	if key.RPM == 0 && key.MaxParallel == 0 {
		return nothing, Quota{}, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.keys[key.ID]
	if u == nil {
		u = &usage{}
		l.keys[key.ID] = u
	}
	u.setRate(key.RPM, now)
	if key.MaxParallel != 0 && u.running >= key.MaxParallel {
		e := ErrRateLimited.about("Rate limit reached for API key %s: %d requests at one time", key.Hint(), key.MaxParallel)
		e.RetryAfter = time.Second
		return nothing, u.quota(key.RPM, now), e
	}
	if u.bucket != nil && !u.bucket.AllowN(now, 1) {
		e := ErrRateLimited.about("Rate limit reached for API key %s: %d requests per minute", key.Hint(), key.RPM)
		e.RetryAfter = max(time.Millisecond, fill(1-u.bucket.TokensAt(now), key.RPM))
		return nothing, u.quota(key.RPM, now), e
	}
	u.running++
	release := sync.OnceFunc(func() {
		l.mu.Lock()
		u.running--
		l.mu.Unlock()
	})
	return release, u.quota(key.RPM, now), nil
}

// setRate follows the record, whose rpm may have been changed.
func (u *usage) setRate(rpm uint64, now time.Time) {
	burst := int(min(rpm, math.MaxInt32))
	switch {
	case rpm == 0:
		u.bucket = nil
	case u.bucket == nil:
		u.bucket = rate.NewLimiter(rate.Limit(float64(rpm)/60), burst)
	case u.bucket.Burst() != burst:
		u.bucket.SetLimitAt(now, rate.Limit(float64(rpm)/60))
		u.bucket.SetBurstAt(now, burst)
	}
}

func (u *usage) quota(rpm uint64, now time.Time) Quota {
	if u.bucket == nil {
		return Quota{}
	}
	tokens := max(0, u.bucket.TokensAt(now))
	return Quota{Limit: rpm, Remaining: uint64(tokens), Reset: fill(float64(u.bucket.Burst())-tokens, rpm)}
}

// fill is how long so many requests take to come back.
func fill(tokens float64, rpm uint64) time.Duration {
	return time.Duration(max(0, tokens) * float64(time.Minute) / float64(rpm))
}

// sweep forgets keys that do nothing and have their whole rate again.
func (l *Limits) sweep(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, u := range l.keys {
		if u.running == 0 && (u.bucket == nil || u.bucket.TokensAt(now) >= float64(u.bucket.Burst())) {
			delete(l.keys, id)
		}
	}
}
