// Package transcript plays conversations with a server that are written down as text, and tells where the server says something
// else. The documentation, the tests and the command `sessionserver play` share them.
//
// A transcript is lines of these forms:
//
//	# a comment                          (so is an empty line)
//	C: put foo bar                       what the client says, sent with CRLF
//	S: ok                                what the server answers, in full
//	C bob: open {id}                     the same on another connection, which opens when it is first named
//	S bob: (closed)                      the server has closed the connection
//	connect carol resp3                  carol speaks RESP3 (or resp2) from here on; without this a connection speaks lines
//	C carol: put "a key" "b\r\nc"        words, quoted as in Go where they need it
//	S carol: "b\r\nc"                    "string", OK, (integer) 3, (null), (error) CODE message, [item, ...], {key: value, ...}
//	hangup bob                           the client leaves without a word
//
// In an S line {name} stands for a word that is remembered at its first use and is the same from then on, also in C lines; {...} stands
// for any text.
//
// It must never know what a command means. Begin reading at [Parse] and [Transcript.Play].
package transcript
