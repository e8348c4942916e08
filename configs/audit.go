package configs

import (
	"strings"
	"time"
)

// Audit holds the settings of the audit log.
type Audit struct {
	// Output is stdout, syslog, syslog:udp://host:port, syslog:tcp://host:port, syslog:unix:/path, a file, or "" for
	// none.
	Output    string        `yaml:"output"`
	Events    []string      `yaml:"events"` // all, event codes, and codes after a -, which are left out
	Sync      bool          `yaml:"sync"`
	MaxSize   Size          `yaml:"max_size"` // size at which the file is rotated; 0 is never
	MaxAge    time.Duration `yaml:"max_age"`  // age at which the file is rotated; 0 is never
	Keep      int           `yaml:"keep"`     // number of rotated files; 0 is all
	OnFailure string        `yaml:"on_failure"`
	Decisions Decisions     `yaml:"decisions"`
}

// Decisions holds the settings of the decision log. A file is rotated like that of the audit log.
type Decisions struct {
	Output string  `yaml:"output"` // like that of the audit log; it may be the same
	Sample float64 `yaml:"sample"` // share of the decisions that allow
	Keys   string  `yaml:"keys"`   // hash or clear
}

func (v *validator) audit(a Audit) {
	v.output("audit.output", a.Output)
	if len(a.Events) == 0 {
		v.add("audit.events", "empty (allowed: all, or event codes; see docs/audit.md)")
	}
	if a.Sync && !strings.Contains(a.Output, "/") || a.Sync && strings.HasPrefix(a.Output, "syslog:") {
		v.add("audit.sync", "true (allowed: false, unless output is a file)")
	}
	if a.MaxSize != 0 && (a.MaxSize < MiB || a.MaxSize > 1024*GiB) {
		v.add("audit.max_size", "%v (allowed: %v to %v, or 0 for no limit)", a.MaxSize, MiB, 1024*GiB)
	}
	const years = 10 * 365 * 24 * time.Hour
	if a.MaxAge != 0 && (a.MaxAge < time.Minute || a.MaxAge > years) {
		v.add("audit.max_age", "%v (allowed: %v to %v, or 0 for no limit)", a.MaxAge, time.Minute, years)
	}
	v.number("audit.keep", int64(a.Keep), 0, 10_000)
	v.oneOf("audit.on_failure", a.OnFailure, "refuse", "continue")
	v.output("audit.decisions.output", a.Decisions.Output)
	if a.Decisions.Sample < 0 || a.Decisions.Sample > 1 {
		v.add("audit.decisions.sample", "%v (allowed: 0 to 1)", a.Decisions.Sample)
	}
	v.oneOf("audit.decisions.keys", a.Decisions.Keys, "hash", "clear")
}

// output requires a valid destination of log lines.
func (v *validator) output(key, output string) {
	rest, isSyslog := strings.CutPrefix(output, "syslog:")
	switch {
	case output == "" || output == "stdout" || output == "syslog":
		return
	case isSyslog:
		network, address, _ := strings.Cut(rest, "://")
		path, isUnix := strings.CutPrefix(rest, "unix:")
		if isUnix && strings.HasPrefix(path, "/") || (network == "udp" || network == "tcp") && hostPort(address) {
			return
		}
	case strings.Contains(output, "/") && !strings.HasSuffix(output, "/"):
		return
	}
	v.add(key, "%.80q (allowed: stdout, syslog, syslog:udp://host:port, syslog:tcp://host:port, syslog:unix:/path, "+
		"the path of a file with a / in it, or nothing)", output)
}
