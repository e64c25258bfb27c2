package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/zap"
)

func init() { caddy.RegisterModule(Redis{}) }

// PoolEnv names the variable that sets PoolSize where the configuration does not, as in the original.
const PoolEnv = "CHAT2RESPONSE_REDIS_POOL_MAX"

// Redis keeps everything in a Redis (or a server that speaks its protocol, version 4 or later, with EVAL), which many
// gateways may share. It is connected to when it is first needed, and again whenever it comes back.
type Redis struct {
	// URL is where Redis is:
	//
	//	redis://[user:password@]host[:port][/db]      rediss:// with TLS
	//	unix://[user:password@]/path/to/socket[?db=n]
	//	redis+cluster://host[:port][?addr=host:port]  rediss+cluster:// with TLS
	//	redis://host[:port]?master_name=name          sentinel; &username= and &password= are the master's
	//
	// The options of go-redis's ParseURL may follow (dial_timeout, read_timeout, skip_verify, …); those that would
	// read from replicas or send a write twice are refused. TLS trusts the system's certificates.
	URL string `json:"url,omitempty"`
	// Username of the Redis ACL, instead of the URL's.
	Username string `json:"username,omitempty"`
	// Password, instead of the URL's.
	Password string `json:"password,omitempty"`
	// Prefix begins every name in Redis. Default: "chat2response:", the original's.
	Prefix string `json:"prefix,omitempty"`
	// PoolSize is the most connections at once, per node in a cluster, 1 to 10000. Default: the variable
	// CHAT2RESPONSE_REDIS_POOL_MAX, else 16.
	PoolSize int `json:"pool_size,omitempty"`
	// MinReplicas is how many replicas should confirm a write within 100 ms. Fewer, and the write stands but is
	// reported as not durable: Redis replicates after it has answered, so a failover can undo a write. Default: 0.
	MinReplicas int `json:"min_replicas,omitempty"`
}

// CaddyModule returns the module's name and constructor.
func (Redis) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".redis", New: func() caddy.Module { return new(Redis) }}
}

// Provision sets the defaults, fills in placeholders and reads the URL. It connects to nothing.
func (r *Redis) Provision(caddy.Context) error {
	for field, s := range map[string]*string{"redis url": &r.URL, "redis username": &r.Username, "redis password": &r.Password} {
		if err := fill(field, s); err != nil {
			return err
		}
	}
	if r.Prefix == "" {
		r.Prefix = "chat2response:"
	}
	if env := strings.TrimSpace(os.Getenv(PoolEnv)); r.PoolSize == 0 && env != "" {
		n, err := strconv.Atoi(env)
		if err != nil {
			return fmt.Errorf("%s=%q: want a number from 1 to 10000", PoolEnv, env)
		}
		r.PoolSize = n
		if n == 0 {
			return fmt.Errorf("%s=0: want a number from 1 to 10000", PoolEnv)
		}
	}
	if r.PoolSize == 0 {
		r.PoolSize = 16
	}
	return nil
}

// Validate refuses what could not work.
func (r *Redis) Validate() error {
	if r.URL == "" {
		return errors.New("redis: no url; give one such as redis://127.0.0.1:6379")
	}
	if r.PoolSize < 1 || r.PoolSize > 10000 {
		return fmt.Errorf("redis: pool_size is %d; it must be from 1 to 10000", r.PoolSize)
	}
	if r.MinReplicas < 0 {
		return fmt.Errorf("redis: min_replicas is %d; it must not be negative", r.MinReplicas)
	}
	if !printable(r.Prefix, 100) {
		return fmt.Errorf("redis: prefix %.120q: 1 to 100 printable ASCII characters", r.Prefix)
	}
	_, err := r.connect()
	return err
}

// UnmarshalCaddyfile reads:
//
//	redis <url> {
//		username     <name>
//		password     <password>
//		prefix       <text>
//		pool_size    <n>
//		min_replicas <n>
//	}
func (r *Redis) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return parseBlock(d, setString(&r.URL), setting{
		"url":          setString(&r.URL),
		"username":     setString(&r.Username),
		"password":     setString(&r.Password),
		"prefix":       setString(&r.Prefix),
		"pool_size":    setInt(&r.PoolSize),
		"min_replicas": setInt(&r.MinReplicas),
	})
}

// Open returns a share of the connections to that Redis. It does not wait for Redis: until it answers, every use is
// [ErrUnavailable].
func (r *Redis) Open(context.Context) (Store, error) {
	config, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(config) // the password is in it
	db, release, err := share("redis:"+hex.EncodeToString(sum[:]), func() (*redisDB, error) {
		connect, err := r.connect()
		if err != nil {
			return nil, err
		}
		return newRedisDB(connect(), r), nil
	})
	if err != nil {
		return nil, err
	}
	return &redisShare{redisDB: db, release: release}, nil
}

type redisShare struct {
	*redisDB
	release func() error
}

func (s *redisShare) Close() error { return s.release() }

// refused are options of go-redis's URLs that keys cannot live with, and why.
var refused = map[string]string{
	"max_retries":               "a write that is sent twice is taken for somebody else's; reads are retried once anyway",
	"read_only":                 "replicas may not know of a revocation yet",
	"replica_only":              "replicas may not know of a revocation yet",
	"use_disconnected_replicas": "replicas may not know of a revocation yet",
	"route_by_latency":          "replicas may not know of a revocation yet",
	"route_randomly":            "replicas may not know of a revocation yet",
	"context_timeout_enabled":   "it is always on",
}

// connect reads the URL and returns what makes a client of it. No error shows the URL, nor what a parser says of it:
// both may hold the password.
func (r *Redis) connect() (func() redis.UniversalClient, error) {
	bad := func(why string) error {
		return fmt.Errorf("redis: url %s: %s", redact(r.URL), why)
	}
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, bad(`it cannot be parsed; characters such as % @ : / in a password must be percent-encoded, or give it by "password"`)
	}
	for option := range u.Query() {
		if why, ok := refused[option]; ok {
			return nil, bad(option + " is not possible: " + why)
		}
	}
	scheme, cluster := strings.CutSuffix(u.Scheme, "+cluster")
	cluster = cluster || (u.Query().Has("addr") && !u.Query().Has("master_name"))
	u.Scheme = scheme
	if scheme != "redis" && scheme != "rediss" && scheme != "unix" {
		return nil, bad("unknown scheme; there are redis, rediss, unix, redis+cluster and rediss+cluster")
	}
	if u.Query().Get("skip_verify") == "true" {
		log("redis").Warn("skip_verify=true: the server's certificate is not checked, so anybody in between can be Redis", zap.String("url", redact(r.URL)))
	}
	clean := func(err error) error {
		why := err.Error()
		password, _ := u.User.Password()
		for _, secret := range []string{password, url.QueryEscape(password), u.Query().Get("password")} {
			if secret != "" {
				why = strings.ReplaceAll(why, secret, "***")
			}
		}
		return bad(strings.TrimPrefix(why, "redis: "))
	}
	switch {
	case u.Query().Has("master_name"):
		o, err := redis.ParseFailoverURL(u.String())
		if err != nil {
			return nil, clean(err)
		}
		r.tune(tuning{&o.Username, &o.Password, &o.MaxRetries, &o.DialerRetries, &o.PoolSize, &o.MinIdleConns, &o.PipelinePoolSize,
			&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout, &o.ConnMaxLifetime, &o.ContextTimeoutEnabled, nil})
		return func() redis.UniversalClient { return redis.NewFailoverClient(o) }, nil
	case cluster:
		o, err := redis.ParseClusterURL(u.String())
		if err != nil {
			return nil, clean(err)
		}
		r.tune(tuning{&o.Username, &o.Password, &o.MaxRetries, &o.DialerRetries, &o.PoolSize, &o.MinIdleConns, &o.PipelinePoolSize,
			&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout, &o.ConnMaxLifetime, &o.ContextTimeoutEnabled, &o.MaintNotificationsConfig})
		return func() redis.UniversalClient { return redis.NewClusterClient(o) }, nil
	}
	o, err := redis.ParseURL(u.String())
	if err != nil {
		return nil, clean(err)
	}
	r.tune(tuning{&o.Username, &o.Password, &o.MaxRetries, &o.DialerRetries, &o.PoolSize, &o.MinIdleConns, &o.PipelinePoolSize,
		&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout, &o.ConnMaxLifetime, &o.ContextTimeoutEnabled, &o.MaintNotificationsConfig})
	return func() redis.UniversalClient { return redis.NewClient(o) }, nil
}

// tuning points at the options that the three kinds of client have in common.
type tuning struct {
	username, password                                                     *string
	maxRetries, dialerRetries, poolSize, minIdleConns, pipelinePoolSize    *int
	dialTimeout, readTimeout, writeTimeout, poolTimeout, connectionMaxLife *time.Duration
	contextTimeoutEnabled                                                  *bool
	maintenance                                                            **maintnotifications.Config
}

// tune sets what the URL has not. go-redis's defaults are for batch work: with them a request that needs a key waits
// 5 s for a Redis that has gone silent, whatever its context says (go-redis ignores deadlines by default).
func (r *Redis) tune(t tuning) {
	byDefault := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	byDefault(t.dialTimeout, 500*time.Millisecond)
	byDefault(t.readTimeout, 500*time.Millisecond)
	byDefault(t.writeTimeout, 500*time.Millisecond)
	byDefault(t.poolTimeout, 500*time.Millisecond)
	byDefault(t.connectionMaxLife, 30*time.Minute)
	if *t.poolSize == 0 {
		*t.poolSize = r.PoolSize
	}
	if *t.minIdleConns == 0 {
		*t.minIdleConns = min(2, *t.poolSize)
	}
	*t.contextTimeoutEnabled = true
	*t.maxRetries = -1 // none: see (*redisDB).read
	*t.dialerRetries = 1
	*t.pipelinePoolSize = -1 // none: pipelines use the common pool
	if r.Username != "" {
		*t.username = r.Username
	}
	if r.Password != "" {
		*t.password = r.Password
	}
	if t.maintenance != nil {
		*t.maintenance = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	}
}

// redact shows which Redis is meant, without user, password and options.
func redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(not shown)"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// redisLog takes go-redis's log lines, which would go to standard error, into Caddy's log. What matters to an operator
// is logged by redisDB when it changes.
type redisLog struct{}

func (redisLog) Printf(_ context.Context, format string, args ...any) {
	log("redis").Debug(fmt.Sprintf(format, args...))
}

var setRedisLog = sync.OnceFunc(func() { redis.SetLogger(redisLog{}) })

// Interface guards
var (
	_ Module                = (*Redis)(nil)
	_ Remote                = (*redisShare)(nil)
	_ caddy.Provisioner     = (*Redis)(nil)
	_ caddy.Validator       = (*Redis)(nil)
	_ caddyfile.Unmarshaler = (*Redis)(nil)
)
