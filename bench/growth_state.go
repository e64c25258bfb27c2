//go:build unix

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// What is kept may be large here: it is not the caps that are measured.
const (
	keptSettings = "\n\t\tmax_bytes 1GiB\n\t\tmax_response 16MiB\n\t\tmax_chain 64MiB\n\t}\n}"
	inMemory     = "chat2response UPSTREAM {\n\tmode chat\n\tstate memory {\n\t\tstore {\n\t\t\tmax_bytes 2GiB\n\t\t}" + keptSettings
	inBbolt      = "chat2response UPSTREAM {\n\tmode chat\n\tstate bbolt DIR/state.db {" + keptSettings
)

var (
	memorySite = []site{{"memory", inMemory}}
	bboltSite  = []site{{"bbolt", inBbolt}}
)

const oneMessage = `{"type":"message","role":"user","content":"x"}`

var chainRow = &growth{name: "a turn at chain length", n: 100, times: 5, held: heldLinear, sites: memorySite,
	prepare: func(g *grower, n int) (act, error) {
		last := ""
		for range n {
			r, err := g.object(exchange{site: "memory", path: paths[responses], body: turn("previous_response_id", last)})
			if err != nil {
				return nil, err
			}
			last = r.ID
		}
		return g.again(exchange{site: "memory", path: paths[responses], body: turn("previous_response_id", last)}, n, `"assistant"`, "")
	}}

// turn is the body of a request that continues what a member names, if it is there yet.
func turn(member, id string) string {
	if id == "" {
		return `{"model":"bench","input":"x"}`
	}
	return `{"model":"bench","input":"x","` + member + `":` + quote(id) + `}`
}

var appendRow = &growth{name: "append one item to a conversation of", n: 1000, times: 20, held: heldFlat, sites: memorySite,
	prepare: func(g *grower, n int) (act, error) {
		id, _, err := g.conversation(n)
		if err != nil {
			return nil, err
		}
		x := exchange{site: "memory", path: "/v1/conversations/" + id + "/items", body: `{"items":[` + oneMessage + `]}`}
		return g.again(x, 1, "", `"content"`)
	}}

var threadRow = &growth{name: "a turn in a conversation of", n: 2000, times: 2, held: heldLinear, sites: memorySite,
	prepare: func(g *grower, n int) (act, error) {
		id, _, err := g.conversation(n)
		if err != nil {
			return nil, err
		}
		return g.again(exchange{site: "memory", path: paths[responses], body: turn("conversation", id)}, n, `"user"`, "")
	}}

var referenceRow = &growth{name: "item references", n: 1000, times: 2, held: heldLinear, sites: memorySite,
	prepare: func(g *grower, n int) (act, error) {
		_, ids, err := g.conversation(n)
		if err != nil {
			return nil, err
		}
		var refs strings.Builder
		for _, id := range ids {
			refs.WriteString(`{"type":"item_reference","id":` + quote(id) + `},`)
		}
		body := `{"model":"bench","store":false,"input":[` + refs.String() + oneMessage + `]}`
		return g.again(exchange{site: "memory", path: paths[responses], body: body}, n, `"user"`, "")
	}}

// conversation makes one of n messages, as many in a call as the API takes, and is its id and theirs.
func (g *grower) conversation(n int) (id string, items []string, err error) {
	const perCall = 20
	// Nothing is kept for a client whom no upstream has answered.
	if _, err := g.ask(exchange{site: "memory", path: paths[responses], body: turn("", "")}); err != nil {
		return "", nil, err
	}
	c, err := g.object(exchange{site: "memory", path: "/v1/conversations", body: "{}"})
	if err != nil {
		return "", nil, err
	}
	for len(items) < n {
		body := `{"items":[` + times(min(perCall, n-len(items)), oneMessage) + `]}`
		list, err := g.object(exchange{site: "memory", path: "/v1/conversations/" + c.ID + "/items", body: body})
		if err != nil {
			return "", nil, err
		}
		if len(list.Data) == 0 {
			return "", nil, fmt.Errorf("no items were added to the conversation")
		}
		for _, item := range list.Data {
			items = append(items, item.ID)
		}
	}
	return c.ID, items, nil
}

// object is what of the gateway's answers counts here.
type object struct {
	ID    string
	Token string
	Store *bool
	Data  []struct{ ID string }
}

func (g *grower) object(x exchange) (object, error) {
	c, err := g.client(x.site)
	if err != nil {
		return object{}, err
	}
	return g.objectBy(c, x)
}

func (g *grower) objectBy(c *client, x exchange) (object, error) {
	var o object
	body, err := g.askBy(c, x)
	if err != nil {
		return o, err
	}
	if err := json.Unmarshal(body, &o); err != nil || o.ID == "" && o.Data == nil {
		return o, fmt.Errorf("%s: %v in %.300s", x.path, err, body)
	}
	return o, nil
}

var saveRow = &growth{name: "saving a response of so many items (bbolt)", n: 6000, held: heldLinear, sites: bboltSite,
	prepare: func(g *grower, n int) (act, error) {
		save := func() (object, error) {
			r, err := g.object(exchange{site: "bbolt", path: paths[responses], body: g.itemsWithIDs(n, "true")})
			if err == nil && (r.Store == nil || !*r.Store) {
				err = errors.New("it was not stored")
			}
			return r, err
		}
		r, err := save()
		if err != nil {
			return nil, err
		}
		// It is there, and so is the last of its items.
		if _, err := g.ask(exchange{site: "bbolt", method: "GET", path: "/v1/responses/" + r.ID}); err != nil {
			return nil, err
		}
		body := fmt.Sprintf(`{"model":"bench","store":false,"input":[{"type":"item_reference","id":"msg_%d_%d"}]}`, g.counter, n-1)
		if _, err := g.ask(exchange{site: "bbolt", path: paths[responses], body: body}); err != nil {
			return nil, err
		}
		return func() error {
			_, err := save()
			return err
		}, nil
	},
	without: func(g *grower, n int) (act, error) {
		do := func() error {
			_, err := g.ask(exchange{site: "bbolt", path: paths[responses], body: g.itemsWithIDs(n, "false")})
			return err
		}
		return do, do()
	}}

// itemsWithIDs is the body of a request with n items. Their ids are new, since each is then one pointer more in the
// store: the items of another response would be none.
func (g *grower) itemsWithIDs(n int, store string) string {
	g.counter++
	items := strings.ReplaceAll(times(n, `{"type":"message","id":"msg_OF_#","role":"user","content":"x"}`), "OF", fmt.Sprint(g.counter))
	return `{"model":"bench","store":` + store + `,"input":[` + items + `]}`
}
