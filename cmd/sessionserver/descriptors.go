package main

import (
	"fmt"

	"sessionserver/configs"
)

// descriptors is how the file descriptors that the system allows this process are shared out, so that connections never take those that the
// storage, the logs and operators need.
type descriptors struct {
	allowed     int // 0 is unknown
	connections int // of clients: limits.connections, or fewer
	refusals    int // of clients that are being told why they are refused
	operators   int // connections of operators
	files       int // of the storage
}

const (
	descriptorsFixed = 24 // standard streams, the poller, logs, watched folders, files that are read for a moment, connections to other servers
	filesAtOnce      = 3  // that an operation of driver file has open: a file, and folders on the way to it
)

// shareDescriptors shares out as many as are allowed.
func shareDescriptors(allowed int, cfg *configs.Config) descriptors {
	d := descriptors{allowed: allowed, connections: cfg.Limits.Connections, refusals: 1024, operators: 128, files: 1000}
	if allowed == 0 {
		return d
	}
	d.refusals = min(max(allowed/16, 4), d.refusals)
	d.operators = min(max(allowed/16, 4), d.operators)
	if cfg.Storage.Driver == "memory" {
		d.files = 0
	} else {
		d.files = min(max(allowed/5, 4*filesAtOnce), d.files)
	}
	rest := allowed - descriptorsFixed - len(cfg.Listen) - d.refusals - d.operators - d.files
	d.connections = max(min(d.connections, rest), 0)
	return d
}

// check returns an error if there are too few descriptors to serve anybody.
func (d descriptors) check() error {
	if d.connections > 0 {
		return nil
	}
	return fmt.Errorf("the system allows this process %d file descriptors, which are too few to serve anybody: allow it more "+
		"(LimitNOFILE of the systemd unit, ulimit -n elsewhere)", d.allowed)
}

// note says that there are fewer connections than the configuration has, or nothing.
func (d descriptors) note(cfg *configs.Config) string {
	if d.connections >= cfg.Limits.Connections {
		return ""
	}
	return fmt.Sprintf("limits.connections is %d, but the system allows this process %d file descriptors, which suffice for %d connections: "+
		"allow it more (LimitNOFILE of the systemd unit, ulimit -n elsewhere), or lower limits.connections",
		cfg.Limits.Connections, d.allowed, d.connections)
}
