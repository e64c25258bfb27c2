//go:build !unix

// Command bench measures chat2response against Caddy's bare reverse_proxy. It
// needs a Unix system for the accounting of CPU time.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench runs on Unix systems only: it needs getrusage.")
	os.Exit(2)
}
