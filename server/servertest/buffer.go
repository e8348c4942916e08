package servertest

import (
	"strings"
	"sync"
)

// Buffer is a log that a test reads while a server writes it.
type Buffer struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

// Write appends to the buffer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String returns everything that has been written.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
