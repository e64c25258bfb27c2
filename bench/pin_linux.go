package main

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// cores are those that this process may use.
func cores() []int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil
	}
	var list []int
	for i := 0; len(list) < set.Count(); i++ {
		if set.IsSet(i) {
			list = append(list, i)
		}
	}
	return list
}

// pin keeps all threads of this process on one core. A thread inherits this from
// the one that starts it, so it is done until no thread is found that was missed.
func pin(core int) error {
	var want unix.CPUSet
	want.Set(core)
	for again := true; again; {
		again = false
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, task := range tasks {
			tid, err := strconv.Atoi(task.Name())
			if err != nil {
				return err
			}
			var has unix.CPUSet
			if err := unix.SchedGetaffinity(tid, &has); err == unix.ESRCH || has == want {
				continue
			}
			if err := unix.SchedSetaffinity(tid, &want); err != nil && err != unix.ESRCH {
				return err
			}
			again = true
		}
	}
	return nil
}
