// Package transcript plays conversations with a server that are written as text, and reports each reply that differs
// from the text. The documentation, the tests and the command `sessionserver play` share them.
//
// A transcript consists of lines in these forms:
//
//	# a comment                          (so is an empty line)
//	C: put foo bar                       a request of the client, sent with CRLF
//	S: ok                                the complete reply of the server
//	C bob: open {id}                     a request on another connection, which opens when it is first named
//	S bob: (closed)                      the server has closed the connection
//	connect carol resp3                  carol uses RESP3 (or resp2) from here on; other connections use lines
//	C carol: put "a key" "b\r\nc"        words, quoted as in Go where necessary
//	S carol: "b\r\nc"                    "string", OK, (integer) 3, (null), (error) CODE message,
//	                                     [item, ...] or {key: value, ...}
//	hangup bob                           the client closes the connection
//
// In an S line {name} stands for a word. It takes its value at the first use and keeps it from then on, also in C
// lines. {...} stands for any text.
//
// The package must never know what a command means. Begin reading at [Parse] and [Transcript.Play].
package transcript
