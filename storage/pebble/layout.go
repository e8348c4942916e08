package pebble

import (
	"encoding/binary"
	"errors"
	"fmt"

	"sessionserver/storage"
)

// What lies under which key. Numbers are big-endian, so that keys sort as they count; times are Unix milliseconds. A
// tenant stands behind its length, so that no name can be the beginning of another's keys.
//
//	'm' name                          what the folder is: "layout" → layoutVersion
//	'r' len tenant id                 a record: header and data (merge operands: see merge.go)
//	'u' tenant                        what the tenant keeps: records, bytes, summed up by merging differences
//	'x' time len tenant id            the expiry index: nothing; sweep.go
//
// A record's header:
//
//	0   valueRecord
//	1   flags: 1 is a marker
//	2   when it expires
//	10  the time of its entry in the expiry index, which is that or earlier
//	18  the data
const (
	prefixMeta   = 'm'
	prefixRecord = 'r'
	prefixUsage  = 'u'
	prefixIndex  = 'x'

	layoutVersion = "1"

	valueRecord = 1 // a whole record
	valueMove   = 2 // a merge operand that moves times; merge.go

	flagMarker = 1

	headerLen = 18
	moveLen   = 17

	maxTenant = 64
	maxData   = 1 << 30

	idLen     = len(storage.ID{})
	maxKeyLen = 1 + 8 + 1 + maxTenant + idLen
)

var (
	layoutKey  = []byte("mlayout")
	usageFirst = []byte{prefixUsage}
	usageLast  = []byte{prefixUsage + 1}
)

var errTenant = fmt.Errorf("a tenant's name has 1 to %d bytes", maxTenant)

func checkTenant(tenant string) error {
	if tenant == "" || len(tenant) > maxTenant {
		return errTenant
	}
	return nil
}

func appendOwner(dst []byte, k storage.Key) []byte {
	dst = append(dst, byte(len(k.Tenant)))
	dst = append(dst, k.Tenant...)
	return append(dst, k.ID[:]...)
}

func appendRecordKey(dst []byte, k storage.Key) []byte {
	return appendOwner(append(dst, prefixRecord), k)
}

// appendTenantKey appends what the keys of all of a tenant's records begin with.
func appendTenantKey(dst []byte, tenant string) []byte {
	return append(append(dst, prefixRecord, byte(len(tenant))), tenant...)
}

func appendUsageKey(dst []byte, tenant string) []byte {
	return append(append(dst, prefixUsage), tenant...)
}

func appendIndexKey(dst []byte, at int64, k storage.Key) []byte {
	return appendOwner(appendIndexTime(dst, at), k)
}

// appendIndexTime appends what all index entries of that time begin with.
func appendIndexTime(dst []byte, at int64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, prefixIndex), uint64(at))
}

func parseOwner(b []byte) (storage.Key, error) {
	if len(b) < 1 || len(b) != 1+int(b[0])+idLen {
		return storage.Key{}, errors.New("malformed key")
	}
	n := int(b[0])
	return storage.Key{Tenant: string(b[1 : 1+n]), ID: storage.ID(b[1+n:])}, nil
}

func parseIndexKey(b []byte) (at int64, k storage.Key, err error) {
	if len(b) < 9 || b[0] != prefixIndex {
		return 0, storage.Key{}, errors.New("malformed index key")
	}
	k, err = parseOwner(b[9:])
	return int64(binary.BigEndian.Uint64(b[1:9])), k, err
}

// header is what is known of a record without its data.
type header struct {
	expires int64 // Unix milliseconds; gone from this one on
	indexed int64 // the time of its entry in the expiry index, at most expires
	size    uint32
	marker  bool
}

func (h header) usage() storage.Usage {
	if h.marker {
		return storage.Usage{}
	}
	return storage.Usage{Records: 1, Bytes: int64(h.size)}
}

func putRecord(dst []byte, h header, data []byte) {
	dst[0], dst[1] = valueRecord, 0
	if h.marker {
		dst[1] = flagMarker
	}
	binary.BigEndian.PutUint64(dst[2:], uint64(h.expires))
	binary.BigEndian.PutUint64(dst[10:], uint64(h.indexed))
	copy(dst[headerLen:], data)
}

// parseRecord reads the value under a record's key. The data is a part of v. There is no record, and no error, in a
// move that lacks what it should move.
func parseRecord(v []byte) (h header, data []byte, ok bool, err error) {
	switch {
	case len(v) == moveLen && v[0] == valueMove:
		return header{}, nil, false, nil
	case len(v) < headerLen, v[0] != valueRecord, v[1]&^flagMarker != 0, len(v) > headerLen+maxData:
		return header{}, nil, false, storage.ErrCorrupt
	}
	h = header{
		expires: int64(binary.BigEndian.Uint64(v[2:])),
		indexed: int64(binary.BigEndian.Uint64(v[10:])),
		size:    uint32(len(v) - headerLen),
		marker:  v[1]&flagMarker != 0,
	}
	if h.indexed < 0 || h.indexed > h.expires {
		return header{}, nil, false, storage.ErrCorrupt
	}
	return h, v[headerLen:], true, nil
}
