package chat2response

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// isLocal reports whether a request comes from this machine itself, and from no web page: its connection is one of the
// loopback interface, it names this machine as its host, and it bears no mark of a proxy or of a page of another
// origin. Programs that forward connections without a mark pass; where that matters, [isLocalProgram] asks on.
func isLocal(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() {
		return false
	}
	name := r.Host
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	if !slices.Contains([]string{"localhost", "127.0.0.1", "::1", "[::1]"}, strings.ToLower(name)) {
		return false // a name that a stranger's DNS points here (DNS rebinding)
	}
	for name := range r.Header {
		if isProxyHeader(name) {
			return false
		}
	}
	return !isForeign(r)
}

// isForeign reports whether a browser sent the request for a page of another origin than the site's own.
func isForeign(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || u.Host != r.Host {
			return true
		}
	}
	site := r.Header.Get("Sec-Fetch-Site")
	return site != "" && site != "none" && site != "same-origin"
}

// proxyHeaders are how the headers begin that proxies, tunnels and networks of servers add to what they pass on.
var proxyHeaders = []string{
	"Akamai-", "Cdn-", "Cf-", "Client-Ip", "Fastly-", "Fly-", "Forwarded", "Ngrok-", "Tailscale-", "True-Client-Ip", "Via",
	"X-Amzn-", "X-Appengine-", "X-Arr-", "X-Azure-", "X-Client-Ip", "X-Cloud-Trace-", "X-Cluster-Client-Ip", "X-Envoy-",
	"X-Forwarded", "X-Host", "X-Original-", "X-Proxy", "X-Proxyuser-Ip", "X-Queue-Start", "X-Real-Ip", "X-Remote-", "X-Request-Start", "X-Rewrite-Url",
	"X-Scheme", "X-Vercel-",
}

func isProxyHeader(name string) bool {
	return slices.ContainsFunc(proxyHeaders, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// isLocalProgram reports whether the program at the other end of the connection was started on this machine to talk to
// the gateway, and forwards nobody else's requests: nginx, ssh -L and -R and all other forwarders also connect from
// loopback, and need not leave a mark. It is decided by the process that holds the connection, see [isClientProcess]; where that
// cannot be found, it is not.
//
// HTTP/1.0 is what nginx speaks to its upstreams unless it is told otherwise, and no client of today does.
func isLocalProgram(r *http.Request) bool {
	if !isLocal(r) || !r.ProtoAtLeast(1, 1) {
		return false
	}
	// A web page can send a form to any site without asking; it cannot send JSON.
	if r.Method == http.MethodPost && (r.Header.Get("Content-Type") == "" || checkMediaType(r.Header.Get("Content-Type")) != nil) {
		return false
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	own, err := netip.ParseAddrPort(local.String())
	return err == nil && clientProcess(unmapped(peer), unmapped(own))
}

// clientProcess is isClientProcess; tests, which talk to a gateway in their own process, set another.
var clientProcess = isClientProcess

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
