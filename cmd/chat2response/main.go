// Command chat2response is Caddy with the chat2response module. With --demo it
// is a gateway to a model that runs inside it, to try everything without an
// account.
package main

import (
	"os"
	_ "time/tzdata"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/labiium/chat2response"
)

func main() {
	// What is not a command of Caddy's is one of ours.
	if len(os.Args) > 1 && (os.Args[1] == "--demo" || os.Args[1] == "keys") {
		os.Args = append([]string{os.Args[0], "chat2response"}, os.Args[1:]...)
	}
	caddycmd.Main()
}
