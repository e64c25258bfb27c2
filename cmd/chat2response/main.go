// Command chat2response is Caddy with the chat2response module. Without one of
// Caddy's commands it is the server that the original of this name was: configured
// by flags, variables and an mcp.json. See its --help.
package main

import (
	"os"
	"strings"
	_ "time/tzdata"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/labiium/chat2response"
)

func main() {
	caddy.CustomBinaryName = "chat2response"
	if len(os.Args) < 2 || !isCaddys(os.Args[1]) {
		os.Args = append([]string{"chat2response", "chat2response"}, os.Args[min(1, len(os.Args)):]...)
	}
	caddycmd.Main()
}

// isCaddys tells whether an argument is one of Caddy's commands, or of those that
// its command line brings along for shells and for help.
func isCaddys(arg string) bool {
	_, ok := caddycmd.Commands()[arg]
	return ok || arg == "help" || arg == "completion" || strings.HasPrefix(arg, "__complete")
}
