package mcpbridge

import (
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// isolate puts the child into a process group of its own, and has the kernel kill it when the gateway dies without
// having a say (kill -9). The kernel does this for the child only: of its own children those survive that do not end
// when their stdin does.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// holdThread keeps the goroutine on its thread until the function returned is called: the signal above is sent when
// the thread that started the child ends, not when the process does (prctl(2), golang/go#27505).
func holdThread() (release func()) {
	runtime.LockOSThread()
	return runtime.UnlockOSThread
}

// reap waits for the child's end, and ends what it has left running. It does the second before the child's pid can go
// to somebody else: until then the group has this number for certain.
func (p *process) reap() error {
	for {
		err := unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			break
		}
	}
	p.mu.Lock()
	killGroup(p.cmd, syscall.SIGKILL)
	p.reaped = true
	p.mu.Unlock()
	return p.cmd.Wait()
}

// killGroup sends sig to the child and all that it started.
func killGroup(cmd *exec.Cmd, sig syscall.Signal) { _ = syscall.Kill(-cmd.Process.Pid, sig) }
