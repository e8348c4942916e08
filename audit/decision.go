package audit

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"path/filepath"
	"strconv"
	"time"
)

// Decision is the decision of the policies about one command. It has no field for a session id or a value.
type Decision struct {
	Tenant    string
	App       string
	Command   string
	Access    string // the requested access: read, write, …
	Key       []byte // the key in the session; nil for none
	Allow     bool
	Undecided bool // the policies made no decision; Allow is false
	Reasons   []string
	Cached    bool
	Took      time.Duration
}

// DecisionOptions are the settings of a decision log. No caller waits for it: lost decisions are counted.
type DecisionOptions struct {
	Options
	Sample    float64 // share of allowing decisions, from 0 to 1; all others are recorded
	ClearKeys bool    // keys in clear, instead of a hash that is stable until the server restarts
	Log       *Log    // an audit log, which is used if it has the same Output; may be nil
}

// Decisions is the decision log. A nil Decisions records nothing. It is safe for concurrent use.
type Decisions struct {
	queue  *queue
	shared bool // the queue belongs to an audit log
	sample float64
	clear  bool
	random func() float64 // in [0, 1)

	secret [32]byte // prevents the search for the key of a hash
}

// OpenDecisions opens the decision log. It returns nil if the options name no output. An output that cannot be opened
// is not an error: the log retries.
func OpenDecisions(o DecisionOptions) (*Decisions, error) {
	if o.Output == "" {
		return nil, nil
	}
	if !(o.Sample >= 0 && o.Sample <= 1) {
		return nil, fmt.Errorf("audit: Sample: %v (allowed: 0 to 1)", o.Sample)
	}
	d := &Decisions{sample: o.Sample, clear: o.ClearKeys, random: mathrand.Float64}
	_, _ = rand.Read(d.secret[:]) // never fails
	if o.Log != nil && filepath.Clean(o.Log.output) == filepath.Clean(o.Output) {
		d.queue, d.shared = o.Log.queue, true
		return d, nil
	}
	o.OnFailure = Continue
	var err error
	d.queue, err = openQueue(&o.Options)
	return d, err
}

// Record queues a decision, if it is in the sample.
func (d *Decisions) Record(x Decision) {
	if d == nil || x.Allow && d.random() >= d.sample {
		return
	}
	e := d.queue.newEntry(PolicyDecision, time.Now())
	e.body = d.append(e.body, &x)
	_ = d.queue.send(e, false, true) // a lost event is counted
}

// append appends the line of a decision from its tenant on, a JSON object with its fields in this order.
func (d *Decisions) append(dst []byte, x *Decision) []byte {
	dst = appendField(dst, `,"tenant":`, x.Tenant, nameMax)
	dst = appendField(dst, `,"app":`, x.App, nameMax)
	dst = appendField(dst, `,"command":`, x.Command, commandMax)
	dst = appendField(dst, `,"access":`, x.Access, commandMax)
	if x.Key != nil && d.clear {
		dst = appendText(append(dst, `,"key":`...), x.Key, nameMax)
	} else if x.Key != nil {
		var buf [128]byte
		sum := sha256.Sum256(append(append(buf[:0], d.secret[:]...), x.Key...))
		dst = append(dst, `,"key_hash":"`...)
		dst = hex.AppendEncode(dst, sum[:8])
		dst = append(dst, '"')
	}
	switch {
	case x.Allow:
		dst = append(dst, `,"decision":"allow"`...)
	case x.Undecided:
		dst = append(dst, `,"decision":"none"`...)
	default:
		dst = append(dst, `,"decision":"deny"`...)
	}
	if len(x.Reasons) > 0 {
		dst = appendReasons(append(dst, `,"reasons":`...), x.Reasons)
	}
	dst = append(dst, `,"cached":`...)
	dst = strconv.AppendBool(dst, x.Cached)
	dst = append(dst, `,"took_us":`...)
	dst = strconv.AppendFloat(dst, math.Round(float64(x.Took)/100)/10, 'f', -1, 64)
	return append(dst, "}\n"...)
}

// appendReasons appends as many texts as fit.
func appendReasons(dst []byte, reasons []string) []byte {
	dst = append(dst, '[')
	start := len(dst)
	for i, r := range reasons {
		if i > 0 {
			dst = append(dst, ',')
		}
		if i > 0 && len(dst)-start > 2*nameMax {
			dst = append(dst, `"…"`...)
			break
		}
		dst = appendText(dst, r, detailMax-2*nameMax)
	}
	return append(dst, ']')
}

// Reopen opens the file under the log's name again, or the connection to syslog. If it fails the log keeps its
// present file or connection.
func (d *Decisions) Reopen() error {
	if d == nil || d.shared {
		return nil
	}
	if err := d.queue.requestReopen(); err != nil {
		return fmt.Errorf("audit: the decision log was not reopened: %w", err)
	}
	return nil
}

// Close writes the queued decisions and closes the log, unless it belongs to an audit log. It may be called more than
// once.
func (d *Decisions) Close() error {
	if d == nil || d.shared {
		return nil
	}
	return d.queue.close()
}
