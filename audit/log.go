package audit

import (
	"cmp"
	"fmt"
	"time"
)

// OnFailure is the rule for operations while the log cannot be written.
type OnFailure string

const (
	Refuse   OnFailure = "refuse"   // operations that cannot be recorded are refused
	Continue OnFailure = "continue" // operations continue; lost events are counted
)

// Timeout is the default of [Options.Timeout].
const Timeout = 2 * time.Second

// Options are the settings of a log.
type Options struct {
	// Output is stdout, syslog, syslog:udp://host:port, syslog:tcp://host:port, syslog:unix:/path, or the path of a
	// file. Without it nothing is logged.
	Output string

	Events    Events        // events to record; ignored by a decision log
	Sync      bool          // a recorded event survives a power failure; for files only
	MaxSize   int64         // bytes of a file before its rotation; 0 for no limit
	MaxAge    time.Duration // age of a file before its rotation; 0 for no limit
	Keep      int           // number of old files to keep; 0 for all
	OnFailure OnFailure     // default: Refuse; ignored by a decision log
	Timeout   time.Duration // longest duration of a write; 0 for [Timeout]
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
		o.Observer = noObserver{}
	}
	return nil
}

// Log is the audit log. A nil Log accepts all events and records none. It is safe for concurrent use.
type Log struct {
	queue     *queue
	output    string
	events    Events
	onFailure OnFailure
}

// Open opens the log. It returns nil if the options name no output. With [Continue] an output that cannot be opened
// is not an error: the log retries.
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
		_ = q.close() // the same error
		return nil, err
	}
	return q, nil
}

// Record writes an event and returns when it is in the log. It takes no context: an operation must be recorded even
// if its client has gone. The wait is bounded by twice the timeout. After an error the event may be missing, and the
// operation must not continue. With [Continue] Record returns no error.
func (l *Log) Record(e Event) error { return l.put(&e, true) }

// Note queues an event for which no client waits, such as the expiry of a session. A lost event is counted.
func (l *Log) Note(e Event) { _ = l.put(&e, false) }

func (l *Log) put(e *Event, wait bool) error {
	if l == nil || !l.events.Has(e.Code) {
		return nil
	}
	at := e.Time
	if at.IsZero() {
		at = time.Now()
	}
	entry := l.queue.newEntry(e.Code, at)
	entry.body = appendBody(entry.body, e)
	err := l.queue.send(entry, wait, false)
	if l.onFailure == Continue {
		return nil
	}
	return err
}

// Err returns the reason to refuse operations now, because they could not be recorded, or nil. It takes nanoseconds.
func (l *Log) Err() error {
	if l == nil || l.onFailure == Continue {
		return nil
	}
	return l.Failing()
}

// Failing returns the reason why the log cannot be written now, or nil. With [Continue] it does so too.
func (l *Log) Failing() error {
	if l == nil {
		return nil
	}
	if f := l.queue.failure(); f != nil {
		return f
	}
	return nil
}

// Reopen opens the file under the log's name again, or the connection to syslog, and then retries after a failure. If
// it fails the log keeps its present file or connection.
func (l *Log) Reopen() error {
	if l == nil {
		return nil
	}
	if err := l.queue.requestReopen(); err != nil {
		return fmt.Errorf("audit: the log was not reopened: %w", err)
	}
	return nil
}

// Close writes the queued events and closes the log, which accepts no events afterwards. After an error the last
// events are lost. It may be called more than once.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	return l.queue.close()
}
