//go:build unix

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/labiium/chat2response"
)

// gatewayRole carries out the orders that the gateway knows: Caddy, with the
// sites that it is told of, in this process.
func gatewayRole() func(order) (reply, error) {
	var watching *watcher
	var profile *os.File
	return func(o order) (reply, error) {
		switch o.Do {
		case "start":
			addrs, err := startCaddy(o.Sites, o.Dir)
			return reply{Addrs: addrs}, err
		case "collect": // so that no row pays for the garbage of the one before
			runtime.GC()
			return used()
		case "usage":
			return used()
		case "shrink": // for plateaus: only what is in use stays
			runtime.GC()
			debug.FreeOSMemory()
			return used()
		case "watch":
			watching = watch()
			return reply{}, nil
		case "watched":
			return reply{Live: watching.end()}, nil
		case "profile":
			var err error
			if profile, err = os.Create(o.File); err != nil {
				return reply{}, err
			}
			return reply{}, pprof.StartCPUProfile(profile)
		case "profiled":
			pprof.StopCPUProfile()
			return reply{}, profile.Close()
		case "procs":
			runtime.GOMAXPROCS(o.Procs)
			return reply{}, nil
		case "list":
			return reply{}, listTools(o.URL)
		case "allocations":
			return reply{}, writeAllocations(o.File)
		}
		return reply{}, fmt.Errorf("there is no order %q", o.Do)
	}
}

func writeAllocations(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	runtime.GC() // the profile is as of the last collection
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}

func used() (reply, error) {
	u, err := ownUsage()
	return reply{Usage: u}, err
}

// startCaddy runs the sites and tells their addresses.
func startCaddy(sites []site, dir string) (map[string]string, error) {
	adapter := caddyconfig.GetAdapter("caddyfile")
	var err error
	for range 3 { // another program may take a port that was free
		var ports map[string]int
		if ports, err = freePorts(sites); err != nil {
			return nil, err
		}
		config, _, adaptErr := adapter.Adapt([]byte(caddyfile(sites, dir, ports)), nil)
		if adaptErr != nil {
			return nil, adaptErr
		}
		if err = caddy.Load(config, true); err == nil {
			addrs := map[string]string{}
			for name, port := range ports {
				addrs[name] = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
			}
			return addrs, nil
		}
	}
	return nil, err
}

// freePorts finds a free port for each gateway.
func freePorts(sites []site) (map[string]int, error) {
	ports := map[string]int{}
	var open []net.Listener
	defer func() {
		for _, ln := range open {
			ln.Close()
		}
	}()
	for _, s := range sites {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(errors.New("no free port"), err)
		}
		open = append(open, ln)
		ports[s.Name] = ln.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}
