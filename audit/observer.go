package audit

import "time"

// Observer receives the state of the log, for metrics. Its methods are called by many goroutines at once and must
// return quickly.
type Observer interface {
	Written(Code)                        // an event is in the log
	Flushed(lines int, in time.Duration) // a batch of lines is in the log; the duration includes the sync
	Failed(error)                        // a write failed; called again after each retry
	Troubled(error)                      // an operation other than a write failed, such as a rotation
	Recovered()                          // a write succeeded after a failure
	Lost(events int)                     // further events are lost
}

type noObserver struct{}

func (noObserver) Written(Code)               {}
func (noObserver) Flushed(int, time.Duration) {}
func (noObserver) Failed(error)               {}
func (noObserver) Troubled(error)             {}
func (noObserver) Recovered()                 {}
func (noObserver) Lost(int)                   {}
