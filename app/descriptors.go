package app

import (
	"fmt"

	"sessionserver/configs"
)

// descriptors divides the file descriptors that the system allows this process, so that connections never take those of
// the storage, the logs and operators.
type descriptors struct {
	allowed     int // 0 is unknown
	connections int // of clients: limits.connections, or fewer
	refusals    int // of refused clients, until they have read the reason
	operators   int // connections of operators
	files       int // of the storage
}

const (
	// descriptorsFixed are for the standard streams, the poller, logs, watched folders, files that are open for a
	// moment, and connections to other servers.
	descriptorsFixed = 24

	// filesAtOnce is the most that an operation of driver file has open: a file, and folders on the way to it.
	filesAtOnce = 3
)

// shareDescriptors divides as many descriptors as are allowed.
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

// check returns an error if there are too few descriptors to serve a client.
func (d descriptors) check() error {
	if d.connections > 0 {
		return nil
	}
	return fmt.Errorf("the system allows this process %d file descriptors, which are too few to serve a client: allow "+
		"it more (LimitNOFILE of the systemd unit, ulimit -n elsewhere)", d.allowed)
}

// note returns a sentence if there are fewer connections than the configuration has, or "".
func (d descriptors) note(cfg *configs.Config) string {
	if d.connections >= cfg.Limits.Connections {
		return ""
	}
	return fmt.Sprintf("limits.connections is %d, but the system allows this process %d file descriptors, which "+
		"suffice for %d connections: allow it more (LimitNOFILE of the systemd unit, ulimit -n elsewhere), or lower "+
		"limits.connections",
		cfg.Limits.Connections, d.allowed, d.connections)
}
