//go:build unix

package storetest

import (
	"syscall"
	"time"
)

// cpuTime returns how much time processors have spent on this process.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
