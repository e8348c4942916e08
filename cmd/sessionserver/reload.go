package main

import (
	"sync"
	"time"

	"sessionserver/admin"
)

// reloads remembers how the last reading of the configuration went.
type reloads struct {
	mu   sync.Mutex
	last admin.Reload // guarded by mu
}

func (r *reloads) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = admin.Reload{What: "configuration", At: time.Now().UTC(), OK: err == nil, Error: errorText(err)}
}

func (r *reloads) state() admin.Reload {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}
