//go:build attack && linux

package attack

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

var forFlag = flag.Duration("for", 4*time.Second, "how long TestEverythingAtOnce goes on")

// strangersWays are what somebody without a good key sends all day.
var strangersWays = []func(g *gateway, r *rand.Rand){
	func(g *gateway, r *rand.Rand) { // members that nobody has heard of, in the names of those that are known
		var b strings.Builder
		b.WriteString(`{"model":"m","messages":[{"role":"user","content":"x"`)
		for range 300 {
			fmt.Fprintf(&b, `,"id.name.%x.type":1`, r.Uint64())
		}
		b.WriteString(`}]}`)
		_, _ = g.ask("POST", "/convert", b.String())
	},
	func(g *gateway, r *rand.Rand) { // keys that were never made
		key := fmt.Sprintf("sk_%032x.%064x", r.Uint64(), r.Uint64())
		_, _ = g.ask("POST", "/v1/responses", `{"model":"m","input":"x"}`, bearer(key)...)
		_, _ = g.ask("POST", "/v1/conversations", `{}`, bearer(key)...)
	},
	func(g *gateway, r *rand.Rand) { // tokens that open nothing
		_, _ = g.ask("POST", "/keys/generate", `{}`, bearer(fmt.Sprintf("wrong-%x", r.Uint64()))...)
		_, _ = g.ask("POST", "/keys/generate", `{}`, "X-Forwarded-For", fmt.Sprintf("203.0.113.%d", r.IntN(256)))
	},
	func(g *gateway, r *rand.Rand) { // paths, methods and hosts
		_ = g.raw(fmt.Sprintf("GET /v1/%x HTTP/1.1\r\nHost: %x.example\r\nConnection: close\r\n\r\n", r.Uint64(), r.Uint64()))
	},
}

// tenantsWays are what one with a key does who means no good.
var tenantsWays = []func(g *gateway, r *rand.Rand, key string){
	func(g *gateway, r *rand.Rand, key string) { // what is kept
		_, _ = g.ask("POST", "/v1/responses", `{"model":"m","input":"`+strings.Repeat("z", 200<<10)+`"}`, bearer(key)...)
	},
	func(g *gateway, r *rand.Rand, key string) { // names of conversations, and many items
		items := strings.TrimSuffix(strings.Repeat(`{"role":"user","content":"x"},`, 300), ",")
		_, _ = g.ask("POST", fmt.Sprintf("/v1/responses?conversation_id=c%x", r.Uint64()), `{"model":"m","input":[`+items+`]}`, bearer(key)...)
	},
	func(g *gateway, r *rand.Rand, key string) { // answers that nobody asks for
		_, _ = g.ask("POST", "/v1/responses", `{"model":"m","background":true,"input":"x"}`, bearer(key)...)
	},
	func(g *gateway, r *rand.Rand, key string) { // names of models, of tools and of members
		odd := fmt.Sprintf("odd-%x", r.Uint64())
		_, _ = g.ask("POST", "/v1/responses", fmt.Sprintf(`{"model":%q,"input":"x",%[1]q:{},"tools":[{"type":"function","name":%[1]q,"parameters":{},%[1]q:1}]}`, odd), bearer(key)...)
	},
}

// What is counted and kept stays bounded, however long all of it goes on at once: the second half adds little to the
// first, and a good key is served throughout.
func TestEverythingAtOnce(t *testing.T) {
	g := begin(t, `chat2response {UP} {
	mode chat
	api_key `+operatorKey+`
	keys bbolt {DIR}/keys.db {
		admin_token `+adminToken+`
	}
	state bbolt {DIR}/state.db {
		max_bytes 8MiB
		max_records 100
	}
}`)
	good, bad := g.mint(`{"label":"good"}`), g.mint(`{"label":"bad"}`)
	stop := g.canary(good)
	most := g.watch()
	seed := random(t).Uint64()
	end := time.Now().Add(*forFlag)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for time.Now().Before(end) {
				if i%2 == 0 {
					strangersWays[r.IntN(len(strangersWays))](g, r)
				} else {
					tenantsWays[r.IntN(len(tenantsWays))](g, r, bad)
				}
				g.up.take()
			}
		})
	}
	type state struct {
		Series, Metrics, MiB, Keys int
		KeysFile, StateFile        int64
	}
	look := func() (s state) {
		series, size := g.metrics()
		var keys []any
		_ = json.Unmarshal([]byte(g.must("GET", "/keys", "", bearer(adminToken)...).body), &keys)
		s = state{Series: len(series), Metrics: size, MiB: g.memory(), Keys: len(keys)}
		for name, to := range map[string]*int64{"keys.db": &s.KeysFile, "state.db": &s.StateFile} {
			if i, err := os.Stat(g.dir + "/" + name); err == nil {
				*to = i.Size()
			}
		}
		return s
	}
	time.Sleep(*forFlag / 2) // the first half of the attack
	half := look()
	wg.Wait()
	whole := look()
	peak := most()
	stop()
	t.Logf("for %v; at half %+v, at the end %+v, %d MiB at the most", *forFlag, half, whole, peak)
	if whole.Series > mostSeries || whole.Series > half.Series+100 || whole.Metrics > mostMetrics {
		t.Errorf("%d series in %d bytes, %d at half", whole.Series, whole.Metrics, half.Series)
	}
	if whole.Keys != 2 || whole.KeysFile > 4<<20 {
		t.Errorf("%d keys in %d bytes", whole.Keys, whole.KeysFile)
	}
	if whole.StateFile > 96<<20 { // of two clients' 8 MiB; what was deleted leaves room within the file
		t.Errorf("the state has %d MiB", whole.StateFile>>20)
	}
	if peak > 600 {
		t.Errorf("%d MiB were resident", peak)
	}
}
