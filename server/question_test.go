package server

import (
	"strings"
	"testing"
)

// TestQuestion checks that Question returns the input of a real connection, and an error for an input that no
// connection has.
func TestQuestion(t *testing.T) {
	for question, want := range map[string]string{
		"new":              "new write rw false",
		"new rw":           "new write rw false",
		"NEW r":            "new is always rw",
		"open":             "open write rw false",
		"open w":           "open write rw false",
		"open u":           "open write u false",
		"open r":           "open read r false",
		"open x":           "unknown mode (allowed: rw, ",
		"open s write":     "open has access read here",
		"put":              "policies decide about put once for each key: add --key KEY",
		"put - - k":        "put write rw true",
		`put - - ""`:       "put write rw true",
		`stat - - ""`:      "policies decide about stat without a key",
		"get s - k":        "get read s true",
		"get - write k":    "get has access read here",
		"keys r":           "keys read r true",
		"get_all - - k":    "get_all read rw true",
		"put_all - - k":    "put_all write rw true",
		"close":            "close write rw true",
		"commit s":         "commit read s true",
		"close s write":    "close has access read here",
		"abort u":          "abort none u true",
		"stat - - k":       "policies decide about stat without a key",
		"lifetime":         "lifetime read rw true",
		"lifetime - write": "lifetime write rw true",
		"lifetime - none":  "lifetime has access read or write",
		"whoami":           "whoami none  false",
		"whoami r":         "whoami none r true",
		"ping":             "policies do not decide about ping, which concerns the connection (allowed: new, open, ",
		"flushall":         "unknown command \"flushall\" (allowed: new, open, ",
	} {
		words := append(strings.Fields(strings.ReplaceAll(question, "-", "\x00")), "", "", "")
		for i := range words {
			words[i] = strings.Trim(words[i], "\x00")
		}
		var key []byte
		if words[3] != "" {
			key = []byte(strings.Trim(words[3], `"`))
		}
		in, err := Question(words[0], words[1], words[2], key)
		got := strings.Join([]string{in.Command, in.Access.String(), in.Mode,
			map[bool]string{true: "true", false: "false"}[in.Session.Open]}, " ")
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", question, got, want)
		}
	}
}
