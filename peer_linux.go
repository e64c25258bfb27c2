package chat2response

import (
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/prometheus/procfs"
)

// isClientProcess reports whether the connection from peer to own is held by a process that
//
//   - runs as the gateway's own user, or as root,
//   - can be looked at by the gateway,
//   - and does not itself listen: neither it, nor an ancestor that runs the same program, has a socket that takes
//     connections or datagrams. A server that forwards requests, and a tunnel, has.
//
// It reads /proc, so that a process in another container is not seen, and refused.
func isClientProcess(peer, own netip.AddrPort) bool {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return false
	}
	inode, uid := uint64(0), uint64(0)
	listening := map[string]bool{} // as links of /proc/PID/fd
	for _, table := range []func() (procfs.NetTCP, error){fs.NetTCP, fs.NetTCP6} {
		sockets, err := table()
		if err != nil && !os.IsNotExist(err) { // a kernel without IPv6
			return false
		}
		for _, s := range sockets {
			const listen = 0x0A // TCP_LISTEN of include/net/tcp_states.h
			switch {
			case s.St == listen:
				listening[socketLink(s.Inode)] = true
			case is(s.LocalAddr, s.LocalPort, peer) && is(s.RemAddr, s.RemPort, own):
				inode, uid = s.Inode, s.UID
			}
		}
	}
	if inode == 0 || uid != 0 && uid != uint64(os.Geteuid()) {
		return false
	}
	for _, table := range []func() (procfs.NetUDP, error){fs.NetUDP, fs.NetUDP6} {
		sockets, _ := table()
		for _, s := range sockets {
			if s.RemPort == 0 { // connected to nobody
				listening[socketLink(s.Inode)] = true
			}
		}
	}
	if sockets, err := fs.NetUNIX(); err == nil {
		for _, s := range sockets.Rows {
			if s.Flags.String() == "listen" {
				listening[socketLink(s.Inode)] = true
			}
		}
	}
	return heldByClients(fs, socketLink(inode), listening)
}

func socketLink(inode uint64) string { return fmt.Sprintf("socket:[%d]", inode) }

func is(ip []byte, port uint64, a netip.AddrPort) bool {
	addr, ok := netip.AddrFromSlice(ip)
	return ok && addr.Unmap() == a.Addr() && port == uint64(a.Port())
}

// heldByClients reports whether a socket has holders, and all of them are clients only.
func heldByClients(fs procfs.FS, socket string, listening map[string]bool) bool {
	all, err := fs.AllProcs()
	if err != nil {
		return false
	}
	found := false
	for _, p := range all {
		targets, err := p.FileDescriptorTargets()
		if err != nil || !slices.Contains(targets, socket) {
			continue // of another user, who is not the one the kernel has named
		}
		found = true
		if !isClientOnly(fs, p, listening) {
			return false
		}
	}
	return found
}

// isClientOnly reports whether neither a process nor its ancestors that run the same program listen: a server may give a
// connection to a child that has no other.
func isClientOnly(fs procfs.FS, p procfs.Proc, listening map[string]bool) bool {
	stat, err := p.Stat()
	for depth := 0; err == nil && depth < 64; depth++ {
		targets, err := p.FileDescriptorTargets()
		if err != nil || slices.ContainsFunc(targets, func(t string) bool { return listening[t] }) {
			return false
		}
		if stat.PPID <= 0 {
			return true
		}
		if p, err = fs.Proc(stat.PPID); err != nil {
			return os.IsNotExist(err) // of another namespace
		}
		name := stat.Comm
		if stat, err = p.Stat(); err != nil {
			return false
		}
		if stat.Comm != name {
			return true
		}
	}
	return false
}
