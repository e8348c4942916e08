package file

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"sessionserver/storage"
)

// The file of a record is a head of 40 bytes and the data. Numbers are big-endian:
//
//	 0  magic "hssfile", then the version, 1
//	 8  flags: 1 for a Marker
//	12  CRC-32C of the data
//	16  length of the data
//	24  CRC-32C of bytes 0 to 23, the tenant and the id: it detects a file under the name of another record
//	28  expiry, Unix time in milliseconds
//	36  CRC-32C of the expiry
//
// The expiry comes last and has its own checksum, since Touch overwrites it.
const (
	magic        = "hssfile\x01"
	flagMarker   = 1
	sumOffset    = 24
	expiryOffset = 28
	headSize     = 40
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// head is the decoded head of a file.
type head struct {
	marker  bool
	length  int64  // of the data
	dataSum uint32 // CRC-32C of the data
	expires int64  // Unix time in milliseconds
}

// encode returns the content of a record's file.
func encode(key storage.Key, rec storage.Record) []byte {
	b := make([]byte, 0, headSize+len(rec.Data))
	b = append(b, magic...)
	var flags uint32
	if rec.Marker {
		flags = flagMarker
	}
	b = binary.BigEndian.AppendUint32(b, flags)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(rec.Data, castagnoli))
	b = binary.BigEndian.AppendUint64(b, uint64(len(rec.Data)))
	b = binary.BigEndian.AppendUint32(b, headSum(key, b))
	b = appendExpiry(b, rec.Expires.UnixMilli())
	return append(b, rec.Data...)
}

// appendExpiry appends the bytes at expiryOffset.
func appendExpiry(b []byte, expires int64) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(expires))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[len(b)-8:], castagnoli))
}

func headSum(key storage.Key, head []byte) uint32 {
	sum := crc32.Checksum(head[:sumOffset], castagnoli)
	sum = crc32.Update(sum, castagnoli, []byte(key.Tenant))
	return crc32.Update(sum, castagnoli, key.ID[:])
}

// decodeHead decodes the head of the file under key, which is size bytes long. Its errors wrap storage.ErrCorrupt.
func decodeHead(key storage.Key, b []byte, size int64) (head, error) {
	if len(b) < headSize {
		return head{}, corrupt("a head of %d bytes, want %d", len(b), headSize)
	}
	if !bytes.HasPrefix(b, []byte(magic[:len(magic)-1])) {
		return head{}, corrupt("not a file of this driver")
	}
	if v := b[len(magic)-1]; v != magic[len(magic)-1] {
		return head{}, corrupt("unknown format version %d", v)
	}
	if headSum(key, b) != binary.BigEndian.Uint32(b[sumOffset:]) {
		return head{}, corrupt("wrong checksum of the head")
	}
	flags := binary.BigEndian.Uint32(b[8:])
	if flags&^flagMarker != 0 {
		return head{}, corrupt("unknown flags %#x", flags)
	}
	h := head{
		marker:  flags&flagMarker != 0,
		dataSum: binary.BigEndian.Uint32(b[12:]),
		length:  int64(binary.BigEndian.Uint64(b[16:])),
		expires: int64(binary.BigEndian.Uint64(b[expiryOffset:])),
	}
	if h.length != size-headSize {
		return head{}, corrupt("%d bytes of data, want %d", size-headSize, h.length)
	}
	if crc32.Checksum(b[expiryOffset:expiryOffset+8], castagnoli) != binary.BigEndian.Uint32(b[expiryOffset+8:]) {
		return head{}, corrupt("wrong checksum of the expiry")
	}
	return h, nil
}

// record returns the record with this head and data. It keeps data.
func (h head) record(data []byte) (storage.Record, error) {
	if crc32.Checksum(data, castagnoli) != h.dataSum {
		return storage.Record{}, corrupt("wrong checksum of the data")
	}
	return storage.Record{Data: data, Expires: time.UnixMilli(h.expires), Marker: h.marker}, nil
}

func (h head) expired(now time.Time) bool { return h.expires <= now.UnixMilli() }

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", storage.ErrCorrupt, fmt.Sprintf(format, args...))
}
