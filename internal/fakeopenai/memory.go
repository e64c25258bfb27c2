package fakeopenai

import (
	"encoding/json"
	"sync"
)

// memory keeps what the Responses API stores: whole conversations by the id of the response that ends them, and
// items by their own id.
type memory struct {
	mu            sync.Mutex
	conversations map[string][]map[string]any
	items         map[string]map[string]any
	reasons       map[string]string // item id to the id of the reasoning item right before it
	answers       map[string][]byte
	order         []string // response ids, oldest first
}

const maxStored = 1000

func newMemory() *memory {
	return &memory{conversations: map[string][]map[string]any{}, items: map[string]map[string]any{}, reasons: map[string]string{}, answers: map[string][]byte{}}
}

func (m *memory) conversation(id string) ([]map[string]any, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	items, ok := m.conversations[id]
	return items, ok
}

func (m *memory) item(id string) (map[string]any, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	item, ok := m.items[id]
	return item, ok
}

func (m *memory) answer(id string) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	body, ok := m.answers[id]
	return body, ok
}

func (m *memory) forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.conversations, id)
	delete(m.answers, id)
}

// reasonFor is the id of the reasoning item that came right before the item with this id, if any did.
func (m *memory) reasonFor(id string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reasons[id]
}

// keep stores an answer: the items that led to it, and its own.
func (m *memory) keep(id string, history []map[string]any, output []any, body []byte) {
	var items []map[string]any
	_ = unmarshal(toJSON(output), &items)
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, item := range items {
		m.items[stringOf(item["id"])] = item
		if i > 0 && items[i-1]["type"] == "reasoning" {
			m.reasons[stringOf(item["id"])] = stringOf(items[i-1]["id"])
		}
	}
	m.conversations[id] = append(append([]map[string]any{}, history...), items...)
	m.answers[id] = body
	m.order = append(m.order, id)
	if len(m.order) <= maxStored {
		return
	}
	for _, item := range m.conversations[m.order[0]] {
		delete(m.items, stringOf(item["id"]))
		delete(m.reasons, stringOf(item["id"]))
	}
	delete(m.conversations, m.order[0])
	delete(m.answers, m.order[0])
	m.order = m.order[1:]
}

// inputItems are the items of a request's input; a string is one message of the user.
func inputItems(body map[string]any) []map[string]any {
	if s, ok := body["input"].(string); ok {
		return []map[string]any{{"type": "message", "role": "user", "content": s}}
	}
	return objectsOf(body["input"])
}

// history is the whole conversation of a request: what it continues, then its own input with references
// resolved. An unknown reference is left out here; OpenAI's dialect has refused it.
func (m *memory) history(body map[string]any, d *dialect) []map[string]any {
	var items []map[string]any
	if id := stringOf(body["previous_response_id"]); id != "" && d.forgets == remembers {
		earlier, _ := m.conversation(id)
		items = append(items, earlier...)
	}
	for _, item := range inputItems(body) {
		if isReference(item) {
			found, ok := m.item(stringOf(item["id"]))
			if !ok {
				continue
			}
			item = found
		}
		items = append(items, item)
	}
	return items
}

// isReference tells an item_reference, whose type may be left out.
func isReference(item map[string]any) bool {
	_, typed := item["type"]
	return item["type"] == "item_reference" || !typed && item["role"] == nil && item["id"] != nil
}

func unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }
