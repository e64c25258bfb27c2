package mcpbridge

import (
	"fmt"
	"strings"
)

// What a server can make the gateway hold besides the tools and results that it is asked for. Each server is a program
// of somebody else, and is trusted with nothing that has no bound.
const (
	maxToolName    = 512       // bytes; MCP 2025-11-25, server/tools, "Tool Names": 1 to 128 characters
	maxHello       = 256 << 10 // bytes of the answer to the handshake, its instructions among them
	maxSaid        = 200       // bytes of what a server calls itself
	maxErrorText   = 2 << 10   // bytes of an error in the log and in a [Status]
	maxDifferent   = 4096      // different tools that one connection has listed; mcp-go keeps each that it has ever seen
	maxMessageID   = 256       // bytes of the id of a server's own request; an answer repeats it
	maxMethodShown = 100       // bytes of its method that the answer repeats
	maxReplies     = 8         // answers to a server's requests that are on their way over HTTP
	maxHeaderBytes = 64 << 10  // bytes of an HTTP answer's header; a session's id comes in it, and goes back in each request
	maxEndpoint    = 8 << 10   // bytes of the address that an SSE server wants messages posted to
	maxPieces      = 1024      // pieces of one result
)

// toolLimits bound the list of one server. The zero value means [maxTools] tools, and no more bytes than [maxToolList].
type toolLimits struct {
	tools int // 0 means maxTools
	bytes int // of names, descriptions as far as they are used, and schemas; 0 means that maxToolList is enough
}

// check reports what is wrong with a list of so many tools of so many bytes. It is asked before anything is done with
// them.
func (l toolLimits) check(tools, bytes int) error {
	if l.bytes > 0 && (bytes > l.bytes || tools > l.tools) {
		return fmt.Errorf("has %d tools in %d bytes; at most %d in %d bytes are allowed", tools, bytes, l.tools, l.bytes)
	}
	if tools > orElse(l.tools, maxTools) {
		return fmt.Errorf("its list of tools is too long: at most %d tools, %d pages and %d MiB", maxTools, maxPages, maxToolList>>20)
	}
	return nil
}

// brief cuts text of a server for a log or a list.
func brief(s string, limit int) string {
	text, more := cut(s, limit)
	if more > 0 {
		text += "…"
	}
	return strings.ToValidUTF8(text, "\ufffd")
}
