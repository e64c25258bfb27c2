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
//   - and has no other end to take requests from: neither it, nor an ancestor that runs the same program, has a socket
//     that listens, or a connection over TCP or UDP to anything but the gateway's own port. A server that forwards
//     requests listens, and a tunnel that only dials out is connected to where they come from.
//
// It reads /proc, so that a process in another container is not seen, and refused. What is fed by a pipe, such as nc at the
// end of a pipeline, is a program that somebody started here.
func isClientProcess(peer, own netip.AddrPort) bool {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return false
	}
	inode, uid := uint64(0), uint64(0)
	others := map[string]bool{} // sockets but those to the gateway, as links of /proc/PID/fd
	//lint:ignore SA1019 it is to go in favour of netlink, which would be one more library to read the same table
	tables := []func() (procfs.NetTCP, error){fs.NetTCP, fs.NetTCP6}
	for _, table := range tables {
		sockets, err := table()
		if err != nil && !os.IsNotExist(err) { // a kernel without IPv6
			return false
		}
		for _, s := range sockets {
			toGateway := is(s.RemAddr, s.RemPort, own)
			if toGateway && is(s.LocalAddr, s.LocalPort, peer) {
				inode, uid = s.Inode, s.UID
			}
			if !toGateway {
				others[socketLink(s.Inode)] = true
			}
		}
	}
	if inode == 0 || uid != 0 && uid != uint64(os.Geteuid()) {
		return false
	}
	for _, table := range []func() (procfs.NetUDP, error){fs.NetUDP, fs.NetUDP6} {
		sockets, _ := table()
		for _, s := range sockets {
			others[socketLink(s.Inode)] = true
		}
	}
	if sockets, err := fs.NetUNIX(); err == nil {
		for _, s := range sockets.Rows {
			if s.Flags.String() == "listen" {
				others[socketLink(s.Inode)] = true
			}
		}
	}
	return heldByClients(fs, socketLink(inode), others)
}

func socketLink(inode uint64) string { return fmt.Sprintf("socket:[%d]", inode) }

func is(ip []byte, port uint64, a netip.AddrPort) bool {
	addr, ok := netip.AddrFromSlice(ip)
	return ok && addr.Unmap() == a.Addr() && port == uint64(a.Port())
}

// heldByClients reports whether a socket has holders, and all of them are clients only.
func heldByClients(fs procfs.FS, socket string, others map[string]bool) bool {
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
		if !isClientOnly(fs, p, others) {
			return false
		}
	}
	return found
}

// isClientOnly reports whether neither a process nor its ancestors that run the same program have one of the other
// sockets: a server may give a connection to a child that has no more than that.
func isClientOnly(fs procfs.FS, p procfs.Proc, others map[string]bool) bool {
	stat, err := p.Stat()
	for depth := 0; err == nil && depth < 64; depth++ {
		targets, err := p.FileDescriptorTargets()
		if err != nil || slices.ContainsFunc(targets, func(t string) bool { return others[t] }) {
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
