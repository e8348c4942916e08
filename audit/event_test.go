package audit

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.FixedZone("somewhere", 3600))

func TestLines(t *testing.T) {
	for _, row := range []struct {
		e    Event
		want string
	}{
		{Event{Code: ServerStarted}, `{"time":"2026-03-01T11:00:00.123Z","seq":7,"event":"server.started"}`},
		{Event{
			Code: SessionCreated, Time: noon.Add(time.Second), Tenant: "acme", App: "shop",
			Address:  netip.MustParseAddrPort("[::ffff:192.0.2.1]:4711"),
			Listener: "main", Conn: 12, Session: [32]byte{0xab, 31: 0x01}, Command: "close", Reason: "r", Detail: "d",
			Count: -3,
		}, `{"time":"2026-03-01T11:00:01.123Z","seq":7,"event":"session.created","tenant":"acme","app":"shop",` +
			`"address":"192.0.2.1","port":4711,` +
			`"listener":"main","connection":12,` +
			`"session":"ab00000000000000000000000000000000000000000000000000000000000001","command":"close",` +
			`"reason":"r","detail":"d","count":-3}`},
		{Event{Code: AuthFailed, Tenant: "a\"},\n{\\", Address: netip.MustParseAddrPort("[fe80::1%eth\n0]:1")},
			`{"time":"2026-03-01T11:00:00.123Z","seq":7,"event":"auth.failed","tenant":"a\"},\u000a{\\",` +
				`"address":"fe80::1%eth\u000a0","port":1}`},
		{Event{Detail: "é\x7f\u0085\u2028\u202e\U000e0001\xff日\u00a0\ufeff😀"},
			`{"time":"2026-03-01T11:00:00.123Z","seq":7,"event":"unknown",` +
				`"detail":"é\u007f\u0085\u2028\u202e\udb40\udc01�日\u00a0\ufeff😀"}`},
	} {
		if got := string(appendEvent(nil, &row.e, 7, noon)); got != row.want+"\n" {
			t.Errorf("got:\n%s\nwant:\n%s", got, row.want)
		}
	}
}

// TestTruncation checks that a text keeps its limit, and that an escape sequence is not divided.
func TestTruncation(t *testing.T) {
	for text, want := range map[string]string{
		"0123456789":            "0123456789",
		"0123456789a":           "0123456…",
		"\n\n":                  `\u000a…`,
		"0\n3456":               `0\u000a…`,
		"0\n345":                `0\u000a345`,
		"日日日":                   "日日日",
		"日日日日":                  "日日…",
		"\U000e0001":            "…",
		strings.Repeat("\"", 6): `\"\"\"…`,
	} {
		if got := string(appendText(nil, text, 10)); got != `"`+want+`"` {
			t.Errorf("%q: %s", text, got)
		}
	}
	long := strings.Repeat("\x00", 10_000)
	e := Event{
		Code: OperationRateLimited, Tenant: long, App: long,
		Address: netip.AddrPortFrom(netip.MustParseAddr("1:2:3:4:5:6:7:8").WithZone(long), 65535), Listener: long,
		Conn: math.MaxUint64, Session: [32]byte{1}, Command: long, Reason: long, Detail: long, Count: math.MinInt64,
	}
	if line := appendEvent(nil, &e, math.MaxUint64, noon); len(line) > LineMax {
		t.Errorf("the line has %d bytes", len(line))
	}
}

// line is a decoded line of the log.
type line struct {
	Time       time.Time `json:"time"`
	Seq        uint64    `json:"seq"`
	Event      string    `json:"event"`
	Tenant     string    `json:"tenant"`
	App        string    `json:"app"`
	Address    string    `json:"address"`
	Port       uint16    `json:"port"`
	Listener   string    `json:"listener"`
	Connection uint64    `json:"connection"`
	Session    string    `json:"session"`
	Command    string    `json:"command"`
	Reason     string    `json:"reason"`
	Detail     string    `json:"detail"`
	Count      int64     `json:"count"`

	// Of a decision.
	Access   string   `json:"access"`
	Key      string   `json:"key"`
	KeyHash  string   `json:"key_hash"`
	Decision string   `json:"decision"`
	Reasons  []string `json:"reasons"`
	Cached   bool     `json:"cached"`
	TookUS   float64  `json:"took_us"`
}

// readLines decodes the lines of a log, which must be whole.
func readLines(t *testing.T, text []byte) []line {
	t.Helper()
	if len(text) > 0 && text[len(text)-1] != '\n' {
		t.Fatalf("the text ends within a line: %q", text)
	}
	var all []line
	for part := range bytes.Lines(text) {
		var l line
		d := json.NewDecoder(bytes.NewReader(part))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil || d.More() {
			t.Fatalf("%q: %v", part, err)
		}
		all = append(all, l)
	}
	return all
}

// isEncoded reports whether got is text, encoded within limit bytes.
func isEncoded(got, text string, limit int) bool {
	text = string([]rune(text)) // invalid UTF-8 becomes U+FFFD
	if got == text {
		return true
	}
	beginning, cut := strings.CutSuffix(got, ellipsis)
	return cut && strings.HasPrefix(text, beginning) && 6*len(text) > limit
}

var fieldOrder = regexp.MustCompile(`^\{"time":"[^"]+","seq":\d+,"event":"[a-z._]+"(,"tenant":S)?(,"app":S)?(,` +
	`"address":S,"port":\d+|,"address":S)?(,"listener":S)?` +
	`(,"connection":\d+)?(,"session":S)?(,"command":S)?(,"reason":S)?(,"detail":S)?(,"count":-?\d+)?\}` + "\n$")

var textInJSON = regexp.MustCompile(`(:)"(?:[^"\\]|\\.)*"`)

// FuzzEvent checks that the line of any event is one JSON object with the same values, of printable characters.
func FuzzEvent(f *testing.F) {
	f.Add(uint8(1), int64(0), "acme", "shop", "main", "open", "why", "text", uint64(1), int64(2), []byte{1, 2, 3, 4},
		uint16(5), uint64(6))
	f.Add(uint8(0), int64(-1), "\"}\n{\"", "\\u0000\x00", "\xff\xfe\u2028", "\x1b[2J", "\u202e",
		strings.Repeat("😀", 100), uint64(math.MaxUint64), int64(math.MinInt64), make([]byte, 32), uint16(0),
		uint64(0))
	f.Fuzz(func(t *testing.T, code uint8, ms int64, tenant, app, listener, command, reason, detail string, conn uint64,
		count int64, raw []byte, port uint16, seq uint64) {
		e := Event{
			Code: Code(code), Time: time.UnixMilli(ms % (200 * 365 * 24 * 3600 * 1000)), Tenant: tenant, App: app,
			Listener: listener,
			Conn:     conn, Command: command, Reason: reason, Detail: detail, Count: count,
		}
		copy(e.Session[:], raw)
		address := ""
		if a, ok := netip.AddrFromSlice(raw); ok {
			e.Address = netip.AddrPortFrom(a, port)
			if address = a.Unmap().String(); a.Is6() && !a.Is4In6() {
				e.Address = netip.AddrPortFrom(a.WithZone(app), port)
				address = e.Address.Addr().String()
			}
		}
		text := appendEvent(nil, &e, seq, noon)
		if len(text) > LineMax {
			t.Errorf("the line has %d bytes", len(text))
		}
		for _, r := range strings.TrimSuffix(string(text), "\n") {
			if !strconv.IsPrint(r) {
				t.Fatalf("not printable: %q", text)
			}
		}
		all := readLines(t, text)
		if len(all) != 1 {
			t.Fatalf("%d lines: %q", len(all), text)
		}
		head, rest, _ := bytes.Cut(text, []byte(`,"event":`)) // head is compared as it is
		event, rest, _ := bytes.Cut(rest, []byte(`,`))
		order := string(head) + `,"event":` + string(event)
		if len(rest) > 0 {
			order += textInJSON.ReplaceAllString(","+string(rest), "${1}S")
		}
		if !fieldOrder.MatchString(order) {
			t.Errorf("the fields of %q are not in order: %q", text, order)
		}
		l := all[0]
		session := ""
		if e.Session != [32]byte{} {
			session = hex.EncodeToString(e.Session[:])
		}
		if !l.Time.Equal(e.Time) || l.Seq != seq || l.Event != e.Code.String() || l.Connection != conn ||
			l.Count != count || l.Session != session ||
			l.Port != e.Address.Port() {
			t.Errorf("%q is not %+v", text, e)
		}
		for _, field := range []struct {
			got, want string
			limit     int
		}{
			{l.Tenant, tenant, nameMax}, {l.App, app, nameMax}, {l.Listener, listener, nameMax},
			{l.Command, command, commandMax},
			{l.Reason, reason, nameMax}, {l.Detail, detail, detailMax}, {l.Address, address, nameMax},
		} {
			if !isEncoded(field.got, field.want, field.limit) {
				t.Errorf("%q became %q", field.want, field.got)
			}
		}
	})
}

func TestEncoderAllocatesNothing(t *testing.T) {
	e := Event{
		Code: SessionCreated, Tenant: "acme", App: "shop", Address: netip.MustParseAddrPort("[2001:db8::1]:4711"),
		Listener: "main", Conn: 12,
		Session: [32]byte{1}, Command: "close", Reason: "r", Detail: "d\n\xff", Count: 1,
	}
	buf := make([]byte, 0, LineMax)
	if n := testing.AllocsPerRun(100, func() { buf = appendEvent(buf[:0], &e, 1, noon) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
