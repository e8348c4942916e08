package audit

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// newDecisions returns a decision log that writes to m.
func newDecisions(t *testing.T, m *memory, o DecisionOptions) *Decisions {
	t.Helper()
	l, _ := newLog(t, m, Continue)
	o.Output, o.Log = "/./memory", l
	d, err := OpenDecisions(o)
	if err != nil || !d.shared {
		t.Fatal(d, err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return d
}

func TestDecisionLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		d := newDecisions(t, m, DecisionOptions{Sample: 1, ClearKeys: true})
		d.Record(Decision{
			Tenant: "acme", App: "shop", Command: "set", Access: "write", Key: []byte("user.na\"me"),
			Reasons: []string{"a\nb", "c"}, Cached: true, Took: 12_345,
		})
		d.Record(Decision{Allow: true})
		synctest.Wait()
		const want = `{"time":"2000-01-01T00:00:00.000Z","seq":1,"event":"policy.decision","tenant":"acme",` +
			`"app":"shop","command":"set","access":"write",` +
			`"key":"user.na\"me","decision":"deny","reasons":["a\u000ab","c"],"cached":true,"took_us":12.3}` + "\n" +
			`{"time":"2000-01-01T00:00:00.000Z","seq":2,"event":"policy.decision","decision":"allow","cached":false,` +
			`"took_us":0}` + "\n"
		if string(m.text) != want {
			t.Errorf("got:\n%s\nwant:\n%s", m.text, want)
		}
		if err := d.Close(); err != nil || d.Reopen() != nil || m.closed {
			t.Error("the decision log closed the sink of the audit log")
		}
		_ = d.queue.close()
	})
}

// TestDecisionKeys checks that equal keys have equal hashes, in one process only.
func TestDecisionKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hashes []string
		for range 2 {
			m := &memory{}
			d := newDecisions(t, m, DecisionOptions{})
			for _, key := range []string{"user.name", "user.mail", "user.name"} {
				d.Record(Decision{Key: []byte(key)})
			}
			synctest.Wait()
			for _, l := range readLines(t, m.text) {
				if l.Key != "" || len(l.KeyHash) != 16 {
					t.Errorf("%+v", l)
				}
				hashes = append(hashes, l.KeyHash)
			}
			_ = d.queue.close()
		}
		if hashes[0] != hashes[2] || hashes[0] == hashes[1] || hashes[0] == hashes[3] {
			t.Error(hashes)
		}
	})
}

// TestSample checks that a part of the allowed commands and all denied ones are recorded.
func TestSample(t *testing.T) {
	for _, sample := range []float64{0, 0.25, 1} {
		synctest.Test(t, func(t *testing.T) {
			m := &memory{}
			d := newDecisions(t, m, DecisionOptions{Sample: sample})
			d.random = rand.New(rand.NewPCG(1, 2)).Float64
			const n = 1000
			for range n {
				d.Record(Decision{Allow: true})
				d.Record(Decision{})
			}
			synctest.Wait()
			count := map[string]int{}
			for _, l := range readLines(t, m.text) {
				count[l.Decision]++
			}
			if got := float64(count["allow"]) / n; count["deny"] != n || math.Abs(got-sample) > 0.05 ||
				sample != 0.25 && got != sample {
				t.Errorf("%v: %v", sample, count)
			}
			_ = d.queue.close()
		})
	}
}

// TestDecisionsDoNotWait checks that decisions are lost and counted when the queue is full.
func TestDecisionsDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		d := newDecisions(t, m, DecisionOptions{})
		hang := make(chan struct{})
		m.set(nil, hang)
		const n = 20_000
		for range n {
			d.Record(Decision{})
		}
		m.set(nil, nil)
		close(hang)
		synctest.Wait()
		written, lost := 0, 0
		for _, l := range readLines(t, m.text) {
			if l.Event == "audit.lost" {
				lost += int(l.Count)
				if l.Detail != "the queue was full" {
					t.Error(l.Detail)
				}
			} else {
				written++
			}
		}
		if lost == 0 || written == 0 || written+lost != n || written > 2*queueMax {
			t.Errorf("%d were written, %d were lost", written, lost)
		}
		_ = d.queue.close()
	})
}

// TestSeparateDecisions checks that an output that cannot be opened does not prevent a decision log.
func TestSeparateDecisions(t *testing.T) {
	c := &counts{}
	d, err := OpenDecisions(DecisionOptions{Options: Options{Output: "/nowhere/at/all", Observer: c}})
	if err != nil {
		t.Fatal(err)
	}
	d.Record(Decision{})
	if err := d.Reopen(); err == nil {
		t.Error("Reopen returned no error")
	}
	if err := d.Close(); err == nil || c.lost != 1 {
		t.Error(err, c)
	}
}

func FuzzDecision(f *testing.F) {
	f.Add("acme", "shop", "set", "write", "user.name", "why", "\n\x00\xff", true, int64(1))
	f.Add("\"", strings.Repeat("\u2028", 100), "\\", "\x1b", "", strings.Repeat("x", 300), strings.Repeat("y", 300),
		false, int64(-1))
	d := &Decisions{}
	f.Fuzz(func(t *testing.T, tenant, app, command, access, key, reason, second string, clear bool, took int64) {
		d.clear = clear
		text := d.append(appendHead(nil, PolicyDecision, math.MaxUint64, noon), &Decision{
			Tenant: tenant, App: app, Command: command, Access: access, Key: []byte(key), Allow: took%2 == 0,
			Cached:  took%3 == 0,
			Reasons: []string{reason, second, reason, second}, Took: time.Duration(took),
		})
		if len(text) > LineMax {
			t.Errorf("%d bytes", len(text))
		}
		all := readLines(t, text)
		if len(all) != 1 {
			t.Fatalf("%d lines", len(all))
		}
		l := all[0]
		if (l.Decision == "allow") != (took%2 == 0) || l.Cached != (took%3 == 0) || len(l.Reasons) < 2 ||
			(l.KeyHash != "") != !clear {
			t.Errorf("%+v", l)
		}
		for _, field := range []struct {
			got, want string
			limit     int
		}{{l.Tenant, tenant, nameMax}, {l.App, app, nameMax}, {l.Command, command, commandMax},
			{l.Access, access, commandMax}, {l.Reasons[0], reason, nameMax}} {
			if !isEncoded(field.got, field.want, field.limit) {
				t.Errorf("%q became %q", field.want, field.got)
			}
		}
		if clear && !isEncoded(l.Key, key, nameMax) {
			t.Errorf("%q became %q", key, l.Key)
		}
	})
}
