package audit

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"time"
)

// Event is an event to record. Its line has no fields for zero values.
type Event struct {
	Code     Code
	Time     time.Time // zero for now
	Tenant   string
	App      string
	Address  netip.AddrPort // of the client; invalid for a Unix socket
	Listener string
	Conn     uint64   // number of the connection in this process
	Session  [32]byte // hash of the id, as in the storage; never the id
	Command  string   // from the command table
	Reason   string   // a stable word, for programs
	Detail   string   // a text for people
	Count    int64
}

// Limits of a text in a line, in bytes. A longer text is truncated and ends with an ellipsis.
const (
	nameMax    = 80
	commandMax = 40
	detailMax  = 240

	// LineMax is the limit of a line in bytes. A line thus fits into a datagram of syslog.
	LineMax = 1024
)

const timeFormat = "2006-01-02T15:04:05.000Z"

// appendEvent appends the line of an event, a JSON object with its fields in this order.
func appendEvent(dst []byte, e *Event, seq uint64, now time.Time) []byte {
	if !e.Time.IsZero() {
		now = e.Time
	}
	return appendBody(appendHead(dst, e.Code, seq, now), e)
}

// appendBody appends the line of an event from its tenant on.
func appendBody(dst []byte, e *Event) []byte {
	dst = appendField(dst, `,"tenant":`, e.Tenant, nameMax)
	dst = appendField(dst, `,"app":`, e.App, nameMax)
	if e.Address.IsValid() {
		var buf [80]byte
		dst = append(dst, `,"address":`...)
		dst = appendText(dst, e.Address.Addr().Unmap().AppendTo(buf[:0]), nameMax)
		dst = appendNumber(dst, `,"port":`, uint64(e.Address.Port()))
	}
	dst = appendField(dst, `,"listener":`, e.Listener, nameMax)
	dst = appendNumber(dst, `,"connection":`, e.Conn)
	if e.Session != [32]byte{} {
		dst = append(dst, `,"session":"`...)
		dst = hex.AppendEncode(dst, e.Session[:])
		dst = append(dst, '"')
	}
	dst = appendField(dst, `,"command":`, e.Command, commandMax)
	dst = appendField(dst, `,"reason":`, e.Reason, nameMax)
	dst = appendField(dst, `,"detail":`, e.Detail, detailMax)
	if e.Count != 0 {
		dst = append(dst, `,"count":`...)
		dst = strconv.AppendInt(dst, e.Count, 10)
	}
	return append(dst, "}\n"...)
}

// appendHead appends the beginning of a line, up to the code.
func appendHead(dst []byte, c Code, seq uint64, at time.Time) []byte {
	dst = append(dst, `{"time":"`...)
	dst = at.UTC().AppendFormat(dst, timeFormat)
	dst = append(dst, `","seq":`...)
	dst = strconv.AppendUint(dst, seq, 10)
	dst = append(dst, `,"event":"`...)
	dst = append(dst, c.String()...)
	return append(dst, '"')
}
