package mcpbridge

import (
	"bytes"
	"os"
	"strconv"
)

// maxDescendants is how many processes that left a child's group are looked after. A fork bomb has to be stopped by
// the limits of the system.
const maxDescendants = 1024

// descendant is a process that a child, or a child of it, has started, outside of the child's group.
type descendant struct {
	*os.Process // by a pidfd where the kernel has them (Linux 5.3): the number cannot be somebody else's
	born        string
}

// descend finds the descendants of a running child that have left its process group, by a session of their own
// (setsid) for instance: a signal to the group does not reach them. It must be called while the child runs, for the
// kernel gives orphans to another parent.
//
// What it cannot find: a process whose own parent has ended before (a daemon that forks twice), and whatever is left
// when the child ends without being asked to. To find these too the gateway would have to be the reaper of all orphans
// (PR_SET_CHILD_SUBREAPER), which is an attribute of the whole process, Caddy and its other modules with it, or the
// servers in a cgroup or PID namespace, which takes rights that it does not have: a unit of systemd or a container ends
// those with the gateway.
func descend(pid int) []descendant {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	children := map[int][]int{}
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			if s, ok := readStat(n); ok {
				children[s.parent] = append(children[s.parent], n)
			}
		}
	}
	var found []descendant
	for open := []int{pid}; len(open) > 0; open = open[1:] {
		for _, n := range children[open[0]] {
			open = append(open, n)
			p, err := os.FindProcess(n)
			if err != nil {
				continue
			}
			// Only what is still its parent's child now is the process that the list showed.
			s, ok := readStat(n)
			if !ok || s.parent != open[0] || s.group == pid || len(found) == maxDescendants {
				_ = p.Release()
				continue
			}
			found = append(found, descendant{p, s.born})
		}
	}
	return found
}

// end kills the process, if it is still the one that was found.
func (d descendant) end() {
	if s, ok := readStat(d.Pid); ok && s.born == d.born {
		_ = d.Kill()
	}
	_ = d.Release()
}

// stat is what is read of /proc/<pid>/stat (proc_pid_stat(5)).
type stat struct {
	parent, group int
	born          string // ticks after the boot
}

func readStat(pid int) (stat, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, false
	}
	// The second field is the program's name in parentheses, and may have blanks and parentheses in it.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 20 {
		return stat{}, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return stat{}, false
	}
	group, err := strconv.Atoi(string(fields[2]))
	return stat{parent, group, string(fields[19])}, err == nil
}
