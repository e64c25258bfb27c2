package chat2response

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/labiium/chat2response/internal/fakeopenai"
	"github.com/labiium/chat2response/store/storetest"
)

// No secret stands in any log, at whatever level, nor in metrics, the status, the
// configuration, or an error.
func TestKeysSecrets(t *testing.T) {
	const (
		upstreamKey = "sk-canary-upstream-0123456789"
		adminToken  = "canary-admin-token-0123456789"
		stranger    = "canary-of-a-client-0123456789"
	)
	t.Setenv("CANARY_UPSTREAM", upstreamKey)
	t.Setenv("CANARY_ADMIN", adminToken)
	for name, keys := range backends(t) {
		t.Run(name, func(t *testing.T) {
			_, good := fake(t, fakeopenai.Options{Dialect: "generic", APIKey: upstreamKey})
			_, other := fake(t, fakeopenai.Options{Dialect: "generic", APIKey: "another"}) // repeats the key that it refuses
			_, azure := fake(t, fakeopenai.Options{Dialect: "azure", APIKey: upstreamKey})
			g := start(t, "respond ok")
			_, port, _ := net.SplitHostPort(g.addr)
			config := adapt(t, `{
				admin off
				persist_config off
				auto_https off
				debug
				metrics
				storage file_system `+storageDir+`
				log {
					output chat2response_test
					format json
					level DEBUG
				}
			}
			http://:`+port+` {
				bind 127.0.0.1
				log { # as docs/keys.md says
					output chat2response_test
					format filter {
						request>headers>X-Api-Key delete
						request>headers>Api-Key delete
						wrap json
					}
				}
				metrics /metrics
				chat2response {
					api_key {env.CANARY_UPSTREAM}
					mode chat
					keys `+keys+` {
						admin_token {env.CANARY_ADMIN}
					}
					to `+good+`
					upstream azure-* {
						api_key {env.CANARY_UPSTREAM}
						mode chat
						dialect azure
						to `+azure+`
					}
					upstream wrong-* {
						api_key {env.CANARY_UPSTREAM}
						mode chat
						to `+other+`
					}
				}
			}`)
			if err := caddy.Load(config, true); err != nil {
				t.Fatal(err)
			}
			g.loads.Add(1)
			admin := []string{"Authorization", "Bearer " + adminToken}
			made := object(t, []byte(g.post("/keys/generate", `{}`, admin...).body))
			token, _ := made["token"].(string)
			_, secret, _ := strings.Cut(token, ".")
			if len(secret) < 20 {
				t.Fatalf("%v", made)
			}
			takeLogs()
			var answers []string
			ask := func(a httpAnswer) { answers = append(answers, a.body, fmt.Sprint(a.header)) }
			for _, header := range [][]string{
				{"Authorization", "Bearer " + token}, {"X-Api-Key", token}, {"Api-Key", token},
				{"Authorization", "Bearer " + token, "X-Api-Key", stranger}, {"X-Api-Key", stranger}, {"Authorization", "Basic " + stranger},
				{"Cookie", "session=" + stranger}, {"Authorization", "Bearer " + token + "x"},
			} {
				for _, model := range []string{"fake-text", "wrong-model", "fake-error401", "fake-error500", "fake-cut", "azure-text", "azure-cut"} {
					for _, stream := range []bool{false, true} {
						ask(g.post("/v1/responses", responsesBody(model, stream), header...))
					}
					ask(g.post("/v1/chat/completions", `{"model":"`+model+`","messages":[{"role":"user","content":"Hello"}]}`, header...))
				}
				ask(g.get("/v1/models", header...))
				ask(g.post("/keys/revoke", `{"id":"x"}`, header...))
			}
			ask(g.get("/keys", admin...))
			ask(g.post("/keys/generate", `{"ttl_seconds":-1}`, admin...))
			ask(g.get("/status"))
			ask(g.get("/metrics"))
			time.Sleep(50 * time.Millisecond) // the access log is written behind the answer
			logs := fmt.Sprint(takeLogs())
			if !strings.Contains(logs, "http.log.access") || !strings.Contains(logs, "upstream roundtrip") {
				t.Fatal("the logs are not there")
			}
			for what, canary := range map[string]string{"the upstream's key": upstreamKey, "the admin token": adminToken, "a client's own": stranger, "a key's secret": secret} {
				if strings.Contains(logs, canary) {
					at := strings.Index(logs, canary)
					t.Errorf("%s is in the log: …%s", what, logs[max(0, at-300):at+40])
				}
				for _, answer := range answers {
					if strings.Contains(answer, canary) {
						t.Errorf("%s is in an answer: %.300s", what, answer)
					}
				}
				if strings.Contains(string(config), canary) {
					t.Errorf("%s is in the configuration", what)
				}
			}
		})
	}
}

// Two gateways on one Redis: a key that one has revoked the other refuses within a
// second, also when it has just been used there.
func TestKeysTwoGateways(t *testing.T) {
	redis := storetest.StartRedis(t)
	proxy := storetest.NewProxy(t, redis.Addr)
	_, addr := fake(t, fakeopenai.Options{Dialect: "generic", APIKey: provider})
	second := freeAddr(t)
	_, port, _ := net.SplitHostPort(second)
	// Other settings make another key store of it: nothing is shared but Redis.
	site := func(redis, purge string) string {
		return "chat2response " + addr + " {\nmode chat\napi_key " + provider + "\nkeys redis redis://" + redis + " {\npurge_after " + purge + "\n}\n}\n"
	}
	g := start(t, site(redis.Addr, "700h")+"}\nhttp://:"+port+" {\nbind 127.0.0.1\n"+site(proxy.Addr, "701h"))
	g2 := &gateway{t: t, addr: second, url: "http://" + second}
	g2.loads.Add(1)

	use := func(g *gateway, token string) int {
		return g.post("/v1/responses", askResponses, "Authorization", "Bearer "+token).status
	}
	refusedWithin := func(what string, token string, limit time.Duration) {
		t.Helper()
		began := time.Now()
		for use(g2, token) != http.StatusUnauthorized {
			if time.Since(began) > limit {
				t.Errorf("%s: the other gateway still takes a revoked key after %s", what, limit)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Logf("%s: refused after %s", what, time.Since(began).Round(time.Millisecond))
	}
	revoke := func(id string) {
		t.Helper()
		if a := g.post("/keys/revoke", `{"id":"`+id+`"}`); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}

	id, token := g.generate(`{}`)
	if s := use(g2, token); s != http.StatusOK {
		t.Fatalf("a key of the first gateway at the second: %d", s)
	}
	revoke(id)
	refusedWithin("with pub/sub", token, time.Second)

	// The second gateway cannot hear the first: a connection that is cut off makes it
	// forget what it has read, and 5 s is the longest that a key is believed.
	id, token = g.generate(`{}`)
	use(g2, token)
	proxy.Set(storetest.Silent)
	revoke(id)
	time.Sleep(300 * time.Millisecond)
	proxy.Set(storetest.Pass)
	refusedWithin("after a cut", token, 5*time.Second)

	// A bad hour of Redis: keys that are good are never called wrong, wrong ones never
	// good, and every answer comes in time.
	_, token = g.generate(`{}`)
	var mu sync.Mutex
	counts := map[int]int{}
	var slowest time.Duration
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			key, want := token, http.StatusOK
			if i == 3 {
				key, want = token[:len(token)-4]+"AAAA", http.StatusUnauthorized
			}
			for {
				select {
				case <-stop:
					return
				default:
				}
				began := time.Now()
				status := use(g2, key)
				took := time.Since(began)
				mu.Lock()
				counts[status]++
				slowest = max(slowest, took)
				mu.Unlock()
				if status != want && status != http.StatusServiceUnavailable {
					t.Errorf("status %d where %d was right", status, want)
					return
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	for _, fault := range []storetest.Fault{storetest.Refuse, storetest.Pass, storetest.Reset, storetest.Pass, storetest.Silent, storetest.Pass} {
		proxy.Set(fault)
		time.Sleep(400 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	t.Logf("answers by status %v, the slowest after %s", counts, slowest.Round(time.Millisecond))
	if slowest > 1500*time.Millisecond {
		t.Errorf("an answer took %s", slowest)
	}
	if counts[http.StatusOK] == 0 {
		t.Error("no good answer at all")
	}
	healed := time.Now().Add(3 * time.Second)
	for use(g2, token) != http.StatusOK {
		if time.Now().After(healed) {
			t.Fatal("did not heal")
		}
		time.Sleep(20 * time.Millisecond)
	}
}
