package audit

import "time"

// Observer is told how the log fares, for metrics. Its methods are called by many goroutines at once and must be quick.
type Observer interface {
	Written(Code)                        // an event is in the log
	Flushed(lines int, in time.Duration) // these lines together; with the sync, if there is one
	Failed(error)                        // nothing could be written; told again at each try
	Troubled(error)                      // something beside writing did not work, such as a rotation
	Recovered()                          // it can be written again
	Lost(events int)                     // so many more are lost
}

type nobody struct{}

func (nobody) Written(Code)               {}
func (nobody) Flushed(int, time.Duration) {}
func (nobody) Failed(error)               {}
func (nobody) Troubled(error)             {}
func (nobody) Recovered()                 {}
func (nobody) Lost(int)                   {}
