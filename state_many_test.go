package chat2response

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/labiium/chat2response/store/storetest"
)

// keptAlive is a client that uses its connections again: these tests send many
// requests.
func keptAlive(t *testing.T) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func send(t *testing.T, c *http.Client, method, url, body, token string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("%s %s: %v", method, url, err)
	}
	return resp.StatusCode, string(b)
}

// The next turn is sent the moment that response.completed arrives, to another
// gateway that shares the Redis: it always finds its parent.
func TestStateNextTurnElsewhere(t *testing.T) {
	turns := 1000
	if testing.Short() {
		turns = 200
	}
	m := &model{}
	addr, other := upstream(t, m.ServeHTTP), freeAddr(t)
	redis := storetest.StartRedis(t).URL()
	_, port, _ := strings.Cut(other, ":")
	// Two sites with different options have nothing in common but the Redis.
	g := start(t, "chat2response "+addr+" {\n mode chat\n state redis "+redis+"\n}\n}\nhttp://:"+port+" {\n bind 127.0.0.1\n"+
		"chat2response "+addr+" {\n mode chat\n state redis "+redis+" {\n max_records 9999\n store {\n pool_size 5\n }\n }\n}")
	c := keptAlive(t)
	urls := []string{g.url, "http://" + other}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range turns / 4 {
				here, there := urls[i%2], urls[(i+1)%2]
				resp, err := c.Post(here+"/v1/responses", "application/json", strings.NewReader(`{"model":"m","input":"one","stream":true}`))
				if err != nil {
					t.Error(err)
					return
				}
				lines, id := bufio.NewScanner(resp.Body), ""
				for id == "" && lines.Scan() {
					if data, ok := strings.CutPrefix(lines.Text(), `data: `); ok && strings.Contains(data, `"type":"response.completed"`) {
						id, _ = dig(object(t, []byte(data)), "response", "id").(string)
					}
				}
				status, body := send(t, c, "POST", there+"/v1/responses", `{"model":"m","input":"two","previous_response_id":"`+id+`"}`, "")
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if status != 200 || !strings.Contains(body, "answer 2 to two") {
					t.Errorf("worker %d, turn %d: %d %s", worker, i, status, body)
					return
				}
			}
		})
	}
	wg.Wait()
}

// Where two gateways continue one conversation at once, one answer is kept, and the
// other fails: 409 where that can still be said, and an event otherwise.
func TestStateConversationRace(t *testing.T) {
	for _, stream := range []bool{false, true} {
		m, addr := holding(t)
		other := freeAddr(t)
		redis := storetest.StartRedis(t).URL()
		_, port, _ := strings.Cut(other, ":")
		g := start(t, "chat2response "+addr+" {\n mode chat\n state redis "+redis+"\n}\n}\nhttp://:"+port+" {\n bind 127.0.0.1\n"+
			"chat2response "+addr+" {\n mode chat\n state redis "+redis+" {\n max_records 9999\n }\n}")
		c := keptAlive(t)
		type answer struct {
			status int
			body   string
		}
		answers := make(chan answer, 2)
		for _, url := range []string{g.url, "http://" + other} {
			go func() {
				status, body := send(t, c, "POST", url+"/v1/responses?conversation_id=c", responsesBody("m", stream), "")
				answers <- answer{status, body}
			}()
		}
		for m.requests() < 2 {
			time.Sleep(time.Millisecond)
		}
		m.release()
		kept, lost := 0, 0
		for range 2 {
			a := <-answers
			switch {
			case a.status == 200 && strings.Contains(a.body, `"store":true`) && !strings.Contains(a.body, "conversation_locked"):
				kept++
			case !stream && a.status == 409 && strings.Contains(a.body, "conversation_locked"),
				stream && a.status == 200 && strings.Contains(a.body, "event: response.failed\n") && strings.Contains(a.body, "conversation_locked") && !strings.Contains(a.body, "event: response.completed"):
				lost++
			default:
				t.Errorf("%d %s", a.status, a.body)
			}
		}
		if kept != 1 || lost != 1 {
			t.Errorf("stream %v: %d kept and %d lost", stream, kept, lost)
		}
		if a := g.post("/convert?conversation_id=c", responsesBody("m", false)); strings.Count(a.body, "Hello") != 3 { // asked, repeated in the answer, asked
			t.Errorf("stream %v: %s", stream, a.body)
		}
	}
}

// tenantWorld is what a client of TestStateTenants has made, and what it knows of
// the others'.
type tenantWorld struct {
	mu   sync.Mutex
	ids  map[string]map[string][]string // by kind and owner
	dead map[string]bool
}

func (w *tenantWorld) add(kind, owner, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if list := append(w.ids[kind][owner], id); len(list) < 50 {
		w.ids[kind][owner] = list
	} else {
		w.ids[kind][owner] = list[1:]
	}
}

func (w *tenantWorld) kill(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead[id] = true
}

// pick is an id of a kind, and whether it must not be known to who asks.
func (w *tenantWorld) pick(kind, asks string) (id string, strange bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	owners := []string{"alice", "bob", "carol", ""}
	owner := owners[rand.IntN(len(owners))]
	if list := w.ids[kind][owner]; len(list) > 0 && rand.IntN(8) > 0 {
		id = list[rand.IntN(len(list))]
		return id, owner != asks || w.dead[id]
	}
	return map[string]string{"response": "resp_", "conversation": "conv_", "item": "msg_"}[kind] + "00000000000000000000000000000000000000000000abcd", true
}

// strangeRequests are all that can be asked by id: method, path and body, in which
// ID stands for it.
var strangeRequests = map[string][][3]string{
	"response": {
		{"GET", "/responses/ID", ""}, {"GET", "/responses/ID?stream=true", ""}, {"DELETE", "/responses/ID", ""},
		{"POST", "/responses/ID/cancel", ""}, {"GET", "/responses/ID/input_items", ""},
		{"POST", "/responses", `{"model":"m","input":"x","previous_response_id":"ID"}`},
		{"POST", "/responses", `{"model":"m","input":"x","previous_response_id":"ID","store":false,"stream":true}`},
		{"POST", "/responses", `{"model":"m","input":"x","previous_response_id":"ID","background":true}`},
		{"POST", "/responses/input_tokens", `{"model":"m","input":"x","previous_response_id":"ID"}`},
		{"POST", "/proxy", `{"model":"m","input":"x","previous_response_id":"ID"}`},
		{"POST", "/convert", `{"model":"m","input":"x","previous_response_id":"ID"}`},
	},
	"conversation": {
		{"GET", "/conversations/ID", ""}, {"POST", "/conversations/ID", `{"metadata":{"a":"b"}}`}, {"DELETE", "/conversations/ID", ""},
		{"GET", "/conversations/ID/items", ""}, {"POST", "/conversations/ID/items", `{"items":[{"role":"user","content":"x"}]}`},
		{"GET", "/conversations/ID/items/msg_1", ""}, {"DELETE", "/conversations/ID/items/msg_1", ""},
		{"POST", "/responses", `{"model":"m","input":"x","conversation":"ID"}`},
		{"POST", "/responses?conversation_id=ID", `{"model":"m","input":"x"}`},
		{"POST", "/chat/completions?conversation_id=ID", `{"model":"m","messages":[{"role":"user","content":"x"}]}`},
		{"POST", "/proxy?conversation_id=ID", `{"model":"m","messages":[{"role":"user","content":"x"}]}`},
		{"POST", "/convert?conversation_id=ID", `{"model":"m","input":"x"}`},
	},
	"item": {
		{"POST", "/responses", `{"model":"m","input":[{"role":"user","content":"x"},{"type":"item_reference","id":"ID"}]}`},
		{"POST", "/convert", `{"model":"m","input":[{"role":"user","content":"x"},{"id":"ID"}]}`},
		{"POST", "/conversations", `{"items":[{"type":"item_reference","id":"ID"}]}`},
	},
}

// Clients that do everything by everyone's ids, on every path and alias: nobody
// sees what is another's, and for what one has not, or has no more, or nobody ever
// had, the answer is the same.
func TestStateTenants(t *testing.T) {
	operations := 20_000
	if testing.Short() {
		operations = 2_000
	}
	if os.Getenv("CHAT2RESPONSE_LONG") != "" {
		operations = 100_000
	}
	t.Run("chat", func(t *testing.T) {
		g, _ := startState(t, "")
		testTenants(t, g, operations)
	})
	t.Run("sealed", func(t *testing.T) {
		g, _ := startSealed(t)
		testTenants(t, g, operations/4)
	})
}

// startSealed is a gateway whose upstream speaks Responses and is one client's for
// all: another gateway, with a state of its own.
func startSealed(t *testing.T) (*gateway, *model) {
	m := &model{}
	addr, other := upstream(t, m.ServeHTTP), freeAddr(t)
	_, port, _ := strings.Cut(other, ":")
	return start(t, "chat2response "+other+" {\n mode responses\n state upstream\n api_key sk-shared\n allow_anonymous\n}\n}\nhttp://:"+port+" {\n bind 127.0.0.1\n"+
		"chat2response "+addr+" {\n mode chat\n state memory {\n store {\n name other\n }\n }\n}"), m
}

func testTenants(t *testing.T, g *gateway, operations int) {
	c := keptAlive(t)
	w := &tenantWorld{ids: map[string]map[string][]string{"response": {}, "conversation": {}, "item": {}}, dead: map[string]bool{}}
	ask := func(r [3]string, id, token string) (int, string) {
		path := strings.ReplaceAll(r[1], "ID", id)
		if !strings.HasPrefix(path, "/proxy") && !strings.HasPrefix(path, "/convert") && rand.IntN(2) == 0 {
			path = "/v1" + path
		}
		return send(t, c, r[0], g.url+path, strings.ReplaceAll(r[2], "ID", id), token)
	}
	// What each says of an id that nobody ever had.
	const never = "resp_never"
	unknown := map[[3]string]string{}
	for _, list := range strangeRequests {
		for _, r := range list {
			id := never
			if strings.Contains(r[1], "conversation_id") {
				id = "conv_never" // another name would be a new conversation
			}
			status, body := ask(r, id, "alice")
			if status != 400 && status != 404 {
				t.Fatalf("%v: %d %s", r, status, body)
			}
			unknown[r] = fmt.Sprint(status, strings.ReplaceAll(body, id, "ID"))
		}
	}
	var wg sync.WaitGroup
	for _, me := range []string{"alice", "bob", "carol", ""} {
		wg.Go(func() {
			mark := "mark-" + me + "-"
			check := func(what any, body string) {
				for _, other := range []string{"alice", "bob", "carol", ""} {
					if other != me && strings.Contains(body, "mark-"+other+"-") {
						t.Errorf("%s reads %s's: %v: %s", me, other, what, body)
					}
				}
			}
			for range operations / 4 {
				if rand.IntN(4) == 0 { // make something
					kind, path, body := "response", "/v1/responses", fmt.Sprintf(`{"model":"m","input":%q,"background":%v}`, mark, rand.IntN(4) == 0)
					if rand.IntN(3) == 0 {
						kind, path, body = "conversation", "/v1/conversations", fmt.Sprintf(`{"items":[{"role":"user","content":%q}]}`, mark)
					}
					status, answer := send(t, c, "POST", g.url+path, body, me)
					if status != 200 {
						t.Errorf("%s %s: %d %s", path, body, status, answer)
						return
					}
					made := object(t, []byte(answer))
					w.add(kind, me, made["id"].(string))
					if item, ok := dig(made, "output", 0, "id").(string); ok {
						w.add("item", me, item)
					}
					check(path, answer)
					continue
				}
				kind := []string{"response", "response", "conversation", "item"}[rand.IntN(4)]
				id, strange := w.pick(kind, me)
				r := strangeRequests[kind][rand.IntN(len(strangeRequests[kind]))]
				if r[0] == "DELETE" && kind != "item" && !strange && !strings.Contains(r[1], "/items/") {
					w.kill(id) // before, as another may ask meanwhile
				}
				if kind == "item" && !strange {
					continue // its response may have been deleted
				}
				status, body := ask(r, id, me)
				check(r, body)
				if got := fmt.Sprint(status, strings.ReplaceAll(body, id, "ID")); strange && got != unknown[r] {
					t.Errorf("%q asks %v of %s: %s; of one that never was: %s", me, r, id, got, unknown[r])
					return
				}
				if status >= 500 {
					t.Errorf("%v: %d %s", r, status, body)
				}
			}
		})
	}
	wg.Wait()
}

const stateChild = "CHAT2RESPONSE_STATE_CHILD"

// runStateChild is a gateway in a process of its own, to be killed: the environment
// has its configuration as JSON.
func runStateChild(config string) {
	if err := caddy.Load([]byte(config), true); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	select {}
}

// The gateway is killed while it answers, again and again: what a client was told is
// there, whole, and what it was not told is not there or not completed.
func TestStateKilled(t *testing.T) {
	kills := 6
	if testing.Short() {
		kills = 2
	}
	m := &model{}
	addr, dir := upstream(t, m.ServeHTTP), t.TempDir()
	site := freeAddr(t)
	_, port, _ := strings.Cut(site, ":")
	config := string(adapt(t, `{
	admin off
	persist_config off
	auto_https off
	storage file_system `+dir+`
	log {
		output discard
	}
}
http://:`+port+` {
	bind 127.0.0.1
	chat2response `+addr+` {
		mode chat
		state bbolt `+dir+`/state.db
	}
}
`))
	url := "http://" + site + "/v1/responses"
	run := func() *exec.Cmd {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), stateChild+"="+config)
		out, err := child.StdoutPipe()
		if err != nil || child.Start() != nil {
			t.Fatal(err)
		}
		if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
			t.Fatalf("the child said %q", line)
		}
		return child
	}
	type turn struct {
		id    string
		turns int
	}
	var last [4]turn
	for range kills {
		child := run()
		var left atomic.Int64 // turns until the kill
		left.Store(int64(5 + rand.IntN(60)))
		var wg sync.WaitGroup
		for i := range last {
			wg.Go(func() {
				for {
					body := fmt.Sprintf(`{"model":"m","input":"q%d","stream":true,"previous_response_id":%q}`, last[i].turns+1, last[i].id)
					if last[i].id == "" {
						body = `{"model":"m","input":"q1","stream":true}`
					}
					resp, err := client.Post(url, "application/json", strings.NewReader(body))
					if err != nil {
						return
					}
					err = readEvents(resp.Body, func(e event) {
						if e.name == "response.completed" {
							last[i] = turn{dig(object(t, []byte(e.data)), "response", "id").(string), last[i].turns + 1}
							if left.Add(-1) == 0 {
								time.AfterFunc(rand.N(5*time.Millisecond), func() { child.Process.Kill() })
							}
						}
					})
					resp.Body.Close()
					if err != nil {
						return
					}
				}
			})
		}
		wg.Wait()
		child.Wait()
	}
	child := run()
	defer child.Wait()
	defer child.Process.Kill()
	for _, l := range last {
		if l.id == "" {
			continue // killed before its first answer
		}
		resp, err := client.Post("http://"+site+"/convert", "application/json", strings.NewReader(fmt.Sprintf(`{"model":"m","input":"end","previous_response_id":%q}`, l.id)))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		wanted := ""
		for n := 1; n <= l.turns; n++ {
			wanted += fmt.Sprintf("user: q%d\nassistant: answer %d to q%d\n", n, n, n)
		}
		if got := transcript(t, string(body)); got != wanted+"user: end\n" {
			t.Errorf("after %d turns:\n%s", l.turns, got)
		}
	}
	t.Logf("%d acknowledged turns, none lost", last[0].turns+last[1].turns+last[2].turns+last[3].turns)
}
