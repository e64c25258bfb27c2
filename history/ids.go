package history

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/labiium/chat2response/convert/responses"
)

// NewID returns a new id with a prefix such as "resp_": 48 hexadecimal digits, as OpenAI's are about as long.
func NewID(prefix string) string { return prefix + randomHex(24) }

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails since Go 1.24
	return hex.EncodeToString(b)
}

// prefixes are the beginnings of item ids by type, which OpenAI's servers check when a client sends an item back.
var prefixes = map[string]string{
	"message":                 "msg_",
	"reasoning":               "rs_",
	"function_call":           "fc_",
	"function_call_output":    "fco_",
	"custom_tool_call":        "ctc_",
	"custom_tool_call_output": "ctco_",
	"web_search_call":         "ws_",
	"file_search_call":        "fs_",
	"code_interpreter_call":   "ci_",
	"image_generation_call":   "ig_",
	"mcp_call":                "mcp_",
	"mcp_list_tools":          "mcpl_",
	"mcp_approval_request":    "mcpr_",
	"mcp_approval_response":   "mcpa_",
	"computer_call":           "cu_",
	"computer_call_output":    "cuo_",
	"local_shell_call":        "lsh_",
	"local_shell_call_output": "lsho_",
	"shell_call":              "sh_",
	"shell_call_output":       "sho_",
	"apply_patch_call":        "apc_",
	"apply_patch_call_output": "apco_",
	"tool_search_call":        "tsc_",
	"tool_search_output":      "tso_",
	"compaction":              "cmp_",
}

// mint makes ids for those items of one write that come without. They look like [NewID]'s, and their first digits are
// the same, so that one pointer finds all of them, however many there are. The zero mint is ready.
type mint struct {
	tag  string // "": none was made yet
	made int64
}

// tagSize and countSize are the digits of an id that is minted.
const (
	tagSize   = 36
	countSize = 12
)

func (m *mint) id(kind string) string {
	prefix, ok := prefixes[kind]
	if !ok {
		prefix = "item_"
	}
	if m.tag == "" {
		m.tag = randomHex(tagSize / 2)
	}
	m.made++
	return fmt.Sprintf("%s%s%0*x", prefix, m.tag, countSize, m.made)
}

// tagOf is the tag that an id has if it was minted; "" if it cannot have been. An id that merely looks so has a tag that
// nothing is found by.
func tagOf(id string) string {
	digits := id[strings.LastIndexByte(id, '_')+1:]
	if len(digits) != tagSize+countSize {
		return ""
	}
	for _, c := range []byte(digits) {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return ""
		}
	}
	return digits[:tagSize]
}

const reference = "item_reference"

// normal returns an item as it is kept and listed: with a type, an id and, where its kind has one, a status; the
// content of a message as parts. https://platform.openai.com/docs/api-reference/responses/input-items
func normal(item responses.Item, ids *mint) responses.Item {
	item.Type = item.Kind()
	if item.Type == reference {
		return responses.Item{Type: reference, ID: item.ID}
	}
	if item.ID == "" {
		item.ID = ids.id(item.Type)
	}
	hasStatus := item.Type == "message" || strings.HasSuffix(item.Type, "_call") || strings.HasSuffix(item.Type, "_call_output")
	if item.Status == "" && hasStatus {
		item.Status = responses.Completed
	}
	if item.Type == "message" && item.Content.IsText() {
		part := responses.InputText(item.Content.Text)
		if item.Role == "assistant" {
			part = responses.OutputText(item.Content.Text)
		}
		item.Content = responses.Parts(part)
	}
	return item
}

// identity is what an item is recognized by; "" for an item without an id, which is never the same as another. The
// output of a local shell call has no id of its own, but its call's.
func identity(item *responses.Item) string {
	if item.ID != "" && item.Kind() == "local_shell_call_output" {
		return "output of " + item.ID
	}
	return item.ID
}

// itemKey is the id in itemSpace of an item's id, which may be any text a client has sent.
func itemKey(id string) string {
	if plainName(id, 128) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "~" + hex.EncodeToString(sum[:])
}

// tagKey is the id in itemSpace of a tag. No item's id has one like it.
func tagKey(tag string) string { return "#" + tag }

// pointerKey is where the place of an item is filed in a write whose mint had this tag.
func pointerKey(id, tag string) string {
	if tag != "" && tagOf(id) == tag {
		return tagKey(tag)
	}
	return itemKey(id)
}

// pointerKeys are those of items, each once.
func pointerKeys(items []responses.Item, tag string) (keys []string) {
	seen := map[string]bool{}
	for i := range items {
		if !pointable(&items[i]) {
			continue
		}
		if key := pointerKey(items[i].ID, tag); !seen[key] {
			seen[key] = true
			keys = append(keys, key)
		}
	}
	return keys
}

// storable tells whether an id can be that of a response or a chat completion. What is not was never stored.
func storable(id string) bool { return plainName(id, 128) }

const conversationPrefix = "conv_"

// conversationKey is the id in conversationSpace of a conversation's id: one of ours as it is, one that the client
// has chosen by its hash.
func conversationKey(id string) string {
	if minted(id) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "~" + hex.EncodeToString(sum[:])
}

// minted tells whether a conversation's id is of the kind that only this gateway gives out.
func minted(id string) bool {
	return strings.HasPrefix(id, conversationPrefix) && plainName(id, 128)
}

// Join returns past and behind it the items of input that are not in it yet, told by their ids: many clients send
// again what the server remembers. A reference to an item that is there already is left out too; one to another item
// stays, see [Tenant.Resolve]. Neither slice is changed.
func Join(past, input []responses.Item) []responses.Item { return join(past, input) }

// join is Join of any number of lists.
func join(lists ...[]responses.Item) []responses.Item {
	total := 0
	for _, list := range lists {
		total += len(list)
	}
	var whole map[string]bool // what is there as an item, if there are references
	for _, list := range lists {
		for i := range list {
			if list[i].Kind() == reference {
				whole = map[string]bool{}
			}
		}
	}
	seen := make(map[string]bool, total)
	if whole != nil {
		for _, list := range lists {
			for i := range list {
				if list[i].ID != "" && list[i].Kind() != reference {
					whole[list[i].ID] = true
				}
			}
		}
	}
	out := make([]responses.Item, 0, total)
	for _, list := range lists {
		for i := range list {
			item := &list[i]
			id := identity(item)
			if id != "" && seen[id] || whole[item.ID] && item.Kind() == reference {
				continue
			}
			seen[id] = true
			out = append(out, *item)
		}
	}
	return out
}
