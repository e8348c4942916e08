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

// Decision is what the policies said about one command. There is nothing in it that a session id or a value could stand in.
type Decision struct {
	Tenant    string
	App       string
	Command   string
	Access    string // read, write, or what else the policy was asked for
	Key       []byte // which the command is about; nil for none
	Allow     bool
	Undecided bool // there was no decision, and Allow is false
	Reasons   []string
	Cached    bool
	Took      time.Duration
}

// DecisionOptions say which decisions are recorded, and where. Nothing waits for them: if they cannot be written they are counted as lost.
type DecisionOptions struct {
	Options
	Sample    float64 // of those that allow: from 0, none, to 1, all. All others are always recorded
	ClearKeys bool    // keys as they are, instead of a hash that only tells which are the same, until the server is started again
	Log       *Log    // an audit log, which takes the decisions too if it has the same Output; may be nil
}

// Decisions is the decision log. A nil one keeps nothing. All may use it at once.
type Decisions struct {
	queue  *queue
	shared bool // the queue is an audit log's
	sample float64
	clear  bool
	chance func() float64 // from 0 to less than 1

	secret [32]byte // without which nobody can try which key has a hash
}

// OpenDecisions opens the decision log, or answers nil if it is to have no output. One that cannot be opened is tried again until it can.
func OpenDecisions(o DecisionOptions) (*Decisions, error) {
	if o.Output == "" {
		return nil, nil
	}
	if !(o.Sample >= 0 && o.Sample <= 1) {
		return nil, fmt.Errorf("audit: Sample: %v (allowed: 0 to 1)", o.Sample)
	}
	d := &Decisions{sample: o.Sample, clear: o.ClearKeys, chance: mathrand.Float64}
	_, _ = rand.Read(d.secret[:]) // it never fails
	if o.Log != nil && filepath.Clean(o.Log.output) == filepath.Clean(o.Output) {
		d.queue, d.shared = o.Log.queue, true
		return d, nil
	}
	o.OnFailure = Continue
	var err error
	d.queue, err = openQueue(&o.Options)
	return d, err
}

// Record writes a decision soon, if it is one of those that are recorded.
func (d *Decisions) Record(x Decision) {
	if d == nil || x.Allow && d.chance() >= d.sample {
		return
	}
	e := d.queue.newEntry(PolicyDecision, time.Now())
	e.body = d.append(e.body, &x)
	_ = d.queue.send(e, false, true) // an event that is lost is counted
}

// append appends the line of a decision, which is a JSON object with its fields in this order.
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

// appendReasons appends a list of texts, as many as fit.
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

// Reopen opens the file that has the log's name now, or syslog anew. If it cannot, the log goes on where it was.
func (d *Decisions) Reopen() error {
	if d == nil || d.shared {
		return nil
	}
	if err := d.queue.requestReopen(); err != nil {
		return fmt.Errorf("audit: the decision log was not reopened: %w", err)
	}
	return nil
}

// Close writes what waits and closes the log, unless it is an audit log's too. It may be called again.
func (d *Decisions) Close() error {
	if d == nil || d.shared {
		return nil
	}
	return d.queue.close()
}
