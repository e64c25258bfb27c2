package mcpbridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"
)

// special are the addresses that are not somebody's on the open Internet: IANA's special-purpose registries (RFC 6890),
// and those that hide an IPv4 address inside.
var special = func() (list []netip.Prefix) {
	for _, p := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16",
		"192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
		"::/8", "64:ff9b::/96", "64:ff9b:1::/48", "100::/8", "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48",
		"3fff::/20", "5f00::/16", "fc00::/7", "fe80::/9", "ff00::/8",
	} {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
}()

// isPublic reports whether an address is somebody's on the open Internet.
func isPublic(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return a.IsValid() && !slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(a) })
}

var errNotPublic = errors.New("its address is not on the open Internet")

// guard dials, and looks at each address at the moment it is dialled: a name that was looked at before can lead
// elsewhere by then ("DNS rebinding").
func guard(allowed func(netip.Addr) bool) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil || !allowed(a.Addr()) {
			return errNotPublic
		}
		return nil
	}}
	return d.DialContext
}

// checkPattern reports what is wrong with an element of [Options.ClientHosts].
func checkPattern(p string) error {
	host, port := splitPort(p)
	host = strings.TrimPrefix(host, "*.")
	if host == "" || strings.ContainsAny(host, "*/ ") || strings.Trim(port, "0123456789") != "" {
		return fmt.Errorf("client_servers: %q is no host; write \"mcp.example.com\", \"*.example.com\" or \"host:8443\"", p)
	}
	return nil
}

// hostAllowed reports whether one of the patterns matches a URL's host and port.
func hostAllowed(patterns []string, host, port string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return slices.ContainsFunc(patterns, func(p string) bool {
		want, wantPort := splitPort(strings.ToLower(p))
		if orElse(wantPort, "443") != orElse(port, "443") {
			return false
		}
		if suffix, ok := strings.CutPrefix(want, "*"); ok {
			return strings.HasSuffix(host, suffix) && len(host) > len(suffix)
		}
		return host == want
	})
}

func splitPort(s string) (host, port string) {
	if h, p, err := net.SplitHostPort(s); err == nil {
		return h, p
	}
	return s, ""
}
