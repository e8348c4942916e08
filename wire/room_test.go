package wire

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestRoom checks that a request beyond the available memory is refused. It is not held in a larger buffer, and is
// read to its end, in whatever pieces it arrives. The following requests are not affected.
func TestRoom(t *testing.T) {
	limits := DefaultLimits()
	large := strings.Repeat("x", 100<<10)
	for name, input := range map[string]string{
		"line":       "put a " + large + "\r\n",
		"resp":       string(AppendRequest(nil, "put", "a", large)),
		"first arg":  string(AppendRequest(nil, "put", large, "a", "b")),
		"second":     string(AppendRequest(nil, "put", strings.Repeat("x", 12<<10), large, "b")),
		"many small": string(AppendRequest(nil, slices.Repeat([]string{"0123456789abcdef"}, 1000)...)),
	} {
		for _, size := range []int{0, 1, 3, 4096, 5000} {
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) {
				src := &chunks{"ping\r\n" + input + "get b\r\n" + string(AppendRequest(nil, "get", "c")), always(size)}
				r := NewReader(src, limits, puts(limits))
				most, asked := 16<<10, 0
				r.SetRoom(func(size int) *Error {
					if size > most {
						asked++
						return Errorf(Quota, "full")
					}
					return nil
				})
				framing := "line"
				if input[0] == '*' {
					framing = "resp"
				}
				want := []string{"line ping", framing + " QUOTA", "line get [b]", "resp get [c]", "EOF"}
				if got := transcribe(r); !slices.Equal(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
				if asked != 1 || len(r.buf) > most {
					t.Errorf("room was refused %d times, and the buffer has %d bytes", asked, len(r.buf))
				}
			})
		}
	}
}

// TestRoomSkipMax checks that the discarded part of a request that is refused for its memory is bounded.
func TestRoomSkipMax(t *testing.T) {
	limits := DefaultLimits()
	limits.Value, limits.Request = skipMax, 2*skipMax
	r := NewReader(strings.NewReader(string(AppendRequest(nil, "put", "a", strings.Repeat("x", skipMax)))), limits, nil)
	refusal := Errorf(Quota, "full")
	r.SetRoom(func(int) *Error { return refusal })
	if got := transcribe(r); !slices.Equal(got, []string{"resp fatal QUOTA"}) {
		t.Errorf("got %q", got)
	}
	if refusal.Fatal {
		t.Error("the shared refusal became fatal")
	}
}
