//go:build !linux

package chat2response

import "net/netip"

// isClientProcess is known on Linux only: elsewhere keys are administered with a token, or through Caddy's admin socket.
func isClientProcess(peer, own netip.AddrPort) bool { return false }
