package configs

import (
	"reflect"
	"testing"
	"time"
)

func TestAudit(t *testing.T) {
	cfg, err := Parse("f", []byte("audit:\n  output: /var/log/s/audit.log\n  events: [all, -session.created]\n"+
		"  sync: true\n  max_size: 0\n  max_age: 0s\n"+
		"  decisions: {output: ./d.log, sample: 1, keys: clear}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := Audit{
		Output: "/var/log/s/audit.log", Events: []string{"all", "-session.created"}, Sync: true, Keep: 10,
		OnFailure: "refuse",
		Decisions: Decisions{Output: "./d.log", Sample: 1, Keys: "clear"},
	}
	if !reflect.DeepEqual(cfg.Audit, want) {
		t.Errorf("got:\n%+v\nwant:\n%+v", cfg.Audit, want)
	}
	if d := Default().Audit; d.Output != "" || d.Decisions.Output != "" || d.MaxAge != 720*time.Hour {
		t.Errorf("by default: %+v", d)
	}
}

func TestAuditOutputs(t *testing.T) {
	for output, right := range map[string]bool{
		"": true, "stdout": true, "syslog": true, "syslog:udp://host:514": true, "syslog:tcp://[::1]:514": true,
		"syslog:unix:/run/x": true,
		"/a/b":               true, "./b": true, "a/b": true,
		"stderr": false, "audit.log": false, "/a/": false, "syslog:": false, "syslog:host:514": false,
		"syslog:udp://host":        false,
		"syslog:udp://host:syslog": false, "syslog:http://host:1": false, "syslog:unix:x": false, "syslog:/a/b": false,
	} {
		cfg := Default()
		cfg.Audit.Output = output
		if problems := cfg.Validate(); (len(problems) == 0) != right {
			t.Errorf("%q: %v", output, problems)
		}
	}
}
