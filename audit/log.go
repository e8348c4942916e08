package audit

import (
	"cmp"
	"fmt"
	"time"
)

// OnFailure says what becomes of operations while the log cannot be written.
type OnFailure string

const (
	Refuse   OnFailure = "refuse"   // what cannot be remembered must not happen
	Continue OnFailure = "continue" // it happens, and is counted
)

// Timeout is how long the writing of lines may take where [Options] do not say otherwise.
const Timeout = 2 * time.Second

// Options say what is recorded, and where.
type Options struct {
	Output    string        // stdout, syslog, syslog:udp://host:port, syslog:tcp://host:port, syslog:unix:/path, or a file; "" is none
	Events    Events        // which; not of a decision log
	Sync      bool          // an event is recorded when it survives a power failure; for files
	MaxSize   int64         // bytes after which a new file begins; 0 is never
	MaxAge    time.Duration // after which a new file begins; 0 is never
	Keep      int           // old files that are kept; 0 is all
	OnFailure OnFailure     // "" is Refuse; not of a decision log
	Timeout   time.Duration // how long writing may take before it counts as failed; 0 is [Timeout]
	Observer  Observer      // may be nil
}

func (o *Options) validate() error {
	switch {
	case o.MaxSize < 0:
		return fmt.Errorf("audit: MaxSize: %d (allowed: 0 or more)", o.MaxSize)
	case o.MaxAge < 0:
		return fmt.Errorf("audit: MaxAge: %v (allowed: 0 or more)", o.MaxAge)
	case o.Keep < 0:
		return fmt.Errorf("audit: Keep: %d (allowed: 0 or more)", o.Keep)
	case o.Timeout < 0:
		return fmt.Errorf("audit: Timeout: %v (allowed: 0 or more)", o.Timeout)
	case o.OnFailure != "" && o.OnFailure != Refuse && o.OnFailure != Continue:
		return fmt.Errorf("audit: OnFailure: %.80q (allowed: refuse, continue)", o.OnFailure)
	}
	o.OnFailure = cmp.Or(o.OnFailure, Refuse)
	o.Timeout = cmp.Or(o.Timeout, Timeout)
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	return nil
}

// Log is the audit log. A nil one takes everything and keeps nothing. All may use it at once.
type Log struct {
	queue     *queue
	output    string
	events    Events
	onFailure OnFailure
}

// Open opens the log, or answers nil if it is to have no output. With [Continue] one that cannot be opened is tried again until it can.
func Open(o Options) (*Log, error) {
	if o.Output == "" {
		return nil, nil
	}
	q, err := openQueue(&o)
	if err != nil {
		return nil, err
	}
	return &Log{queue: q, output: o.Output, events: o.Events, onFailure: o.OnFailure}, nil
}

func openQueue(o *Options) (*queue, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	s, err := newSink(*o, o.Observer.Troubled)
	if err != nil {
		return nil, err
	}
	q := newQueue(s, o.Timeout, o.Observer)
	if err := q.start(); err != nil && o.OnFailure == Refuse {
		_ = q.close() // it is the same error
		return nil, err
	}
	return q, nil
}

// Record writes an event and returns when it is in the log. It takes no context: that somebody does not wait for the answer any more is no reason to
// forget what he did, and the wait is bounded by twice the time-out. The error is that the event is not known to be there, and the operation must not go
// on; with [Continue] there is none.
func (l *Log) Record(e Event) error { return l.put(&e, true) }

// Note writes an event soon, for what nobody is waiting to be answered: that a session has expired, say. If it is lost that is counted.
func (l *Log) Note(e Event) { _ = l.put(&e, false) }

func (l *Log) put(e *Event, wait bool) error {
	if l == nil || !l.events.Has(e.Code) {
		return nil
	}
	at := e.Time
	if at.IsZero() {
		at = time.Now()
	}
	x := l.queue.newEntry(e.Code, at)
	x.body = appendBody(x.body, e)
	err := l.queue.send(x, wait, false)
	if l.onFailure == Continue {
		return nil
	}
	return err
}

// Err is why operations are to be refused now, because they could not be recorded, or nil. It costs next to nothing.
func (l *Log) Err() error {
	if l == nil || l.onFailure == Continue {
		return nil
	}
	return l.Failing()
}

// Failing is why nothing can be written now, or nil; with [Continue] too.
func (l *Log) Failing() error {
	if l == nil {
		return nil
	}
	if f := l.queue.failure(); f != nil {
		return f
	}
	return nil
}

// Reopen opens the file that has the log's name now, or syslog anew, and tries at once again what failed. If it cannot, the log goes on where it was.
func (l *Log) Reopen() error {
	if l == nil {
		return nil
	}
	if err := l.queue.requestReopen(); err != nil {
		return fmt.Errorf("audit: the log was not reopened: %w", err)
	}
	return nil
}

// Close writes what waits and closes the log: after that nothing is taken any more. The error is that the last events are lost. It may be called again.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	return l.queue.close()
}
