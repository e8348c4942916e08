package audit

import (
	"strconv"
	"unicode/utf8"
)

// appendField appends a name and its text, unless the text is empty.
func appendField(dst []byte, name, text string, limit int) []byte {
	if text == "" {
		return dst
	}
	return appendText(append(dst, name...), text, limit)
}

// appendNumber appends a name and its number, unless the number is 0.
func appendNumber(dst []byte, name string, n uint64) []byte {
	if n == 0 {
		return dst
	}
	return strconv.AppendUint(append(dst, name...), n, 10)
}

const ellipsis = "…"

// appendText appends text as a JSON string with at most limit bytes between its quotes. No character of text can end
// the string or the line, or change its display on a terminal: all characters that are not printable are escaped,
// such as line ends and changes of the writing direction. Invalid UTF-8 becomes U+FFFD.
func appendText[T string | []byte](dst []byte, text T, limit int) []byte {
	dst = append(dst, '"')
	end := len(dst) + limit
	keep := len(dst) // end of the text that an ellipsis can follow
	for i := 0; i < len(text); {
		if c := text[i]; c >= ' ' && c < 0x7f && c != '"' && c != '\\' {
			dst = append(dst, c)
			i++
		} else {
			r, size := decodeRune(text, i)
			dst = appendRune(dst, r)
			i += size
		}
		if len(dst) > end {
			dst = append(dst[:keep], ellipsis...)
			break
		}
		if len(dst) <= end-len(ellipsis) {
			keep = len(dst)
		}
	}
	return append(dst, '"')
}

func decodeRune[T string | []byte](text T, at int) (rune, int) {
	var buf [utf8.UTFMax]byte
	return utf8.DecodeRune(buf[:copy(buf[:], text[at:])])
}

func appendRune(dst []byte, r rune) []byte {
	switch {
	case r == '"' || r == '\\':
		return append(dst, '\\', byte(r))
	case strconv.IsPrint(r):
		return utf8.AppendRune(dst, r)
	case r > 0xffff: // as a pair of UTF-16
		r -= 0x10000
		return appendEscape(appendEscape(dst, 0xd800+r>>10), 0xdc00+r&0x3ff)
	}
	return appendEscape(dst, r)
}

func appendEscape(dst []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}
