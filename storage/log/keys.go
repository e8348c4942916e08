package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"sessionserver/storage"
)

// A table of keys is what the frames of a segment say without their data, in a file of its own. It is written when
// the segment is complete and durable, and lets the store be opened without reading every record:
//
//	 0  8  "SSKEYS1\n"
//	 8  8  number of the segment
//	16  8  number of records in the store when the table was written
//	24  4  number of entries
//	28  4  number of tenants
//	       each tenant: its length in one byte, and its name
//	       each entry: id (32), expiry (8), offset in units of 8 bytes (4), length of the data (4),
//	       number of the tenant in the table (4), kind (1), flags (1), zero (2)
//	    4  CRC-32C of all of the above, seeded with the store
const (
	keysMagic = "SSKEYS1\n"
	keysHead  = 32
	keysEntry = 56
)

// keys is a table of keys.
type keys struct {
	records uint64
	tenants []string
	entries []byte // see keysEntry
}

func (k *keys) len() int { return len(k.entries) / keysEntry }

// end returns the offset behind the last frame.
func (k *keys) end() int {
	if k.len() == 0 {
		return 0
	}
	en := k.at(k.len() - 1)
	return en.offset + frameLength(len(k.tenants[en.tenant]), en.size)
}

// entry is a frame as a table of keys has it.
type entry struct {
	id      storage.ID
	expires int64
	offset  int
	size    int
	tenant  int
	kind    kind
	flags   uint8
}

func (k *keys) at(i int) entry {
	b := k.entries[i*keysEntry : (i+1)*keysEntry]
	return entry{
		id: storage.ID(b[:32]), expires: int64(binary.LittleEndian.Uint64(b[32:])),
		offset: int(binary.LittleEndian.Uint32(b[40:])) << 3, size: int(binary.LittleEndian.Uint32(b[44:])),
		tenant: int(binary.LittleEndian.Uint32(b[48:])), kind: kind(b[52]), flags: b[53],
	}
}

// add appends the entry of a frame. The map holds the numbers of the tenants so far.
func (k *keys) add(f *frame, offset int, numbers map[string]int) {
	n, ok := numbers[string(f.tenant)]
	if !ok {
		n = len(k.tenants)
		k.tenants = append(k.tenants, string(f.tenant))
		numbers[string(f.tenant)] = n
	}
	b := append(k.entries, f.id[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(f.expires))
	b = binary.LittleEndian.AppendUint32(b, uint32(offset>>3))
	b = binary.LittleEndian.AppendUint32(b, uint32(f.size))
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	k.entries = append(b, byte(f.kind), f.flags, 0, 0)
}

func (k *keys) encode(segment uint64, s seal) []byte {
	b := make([]byte, 0, keysHead+len(k.tenants)*16+len(k.entries)+4)
	b = append(b, keysMagic...)
	b = binary.LittleEndian.AppendUint64(b, segment)
	b = binary.LittleEndian.AppendUint64(b, k.records)
	b = binary.LittleEndian.AppendUint32(b, uint32(k.len()))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(k.tenants)))
	for _, t := range k.tenants {
		b = append(append(b, byte(len(t))), t...)
	}
	b = append(b, k.entries...)
	return binary.LittleEndian.AppendUint32(b, crc32.Update(uint32(s), castagnoli, b))
}

var errKeys = errors.New("the table of keys is invalid")

func decodeKeys(b []byte, segment uint64, s seal) (*keys, error) {
	n := len(b) - 4
	if n < keysHead || string(b[:8]) != keysMagic || binary.LittleEndian.Uint64(b[8:]) != segment ||
		crc32.Update(uint32(s), castagnoli, b[:n]) != binary.LittleEndian.Uint32(b[n:]) {
		return nil, errKeys
	}
	k := &keys{records: binary.LittleEndian.Uint64(b[16:])}
	entries, rest := int(binary.LittleEndian.Uint32(b[24:])), b[keysHead:n]
	for range binary.LittleEndian.Uint32(b[28:]) {
		if len(rest) == 0 || len(rest) < 1+int(rest[0]) {
			return nil, errKeys
		}
		k.tenants = append(k.tenants, string(rest[1:1+rest[0]]))
		rest = rest[1+int(rest[0]):]
	}
	if len(rest) != entries*keysEntry {
		return nil, errKeys
	}
	k.entries = rest
	return k, nil
}

// writeKeys makes the table of keys of a segment durable.
func writeKeys(fs files, k *keys, segment uint64, s seal) error {
	name := keysName(segment)
	if err := writeFile(fs, name+".tmp", k.encode(segment, s)); err != nil {
		_ = fs.Remove(name + ".tmp") // the disk may be full
		return err
	}
	if err := fs.Rename(name+".tmp", name); err != nil {
		return err
	}
	return fs.Sync()
}

// writeFile writes a new file and makes its content durable, but not its name.
func writeFile(fs files, name string, content []byte) (err error) {
	f, err := fs.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteAt(content, 0); err != nil {
		return err
	}
	return f.Sync()
}

func readFile(fs files, name string) (content []byte, err error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	content = make([]byte, size)
	if n, err := f.ReadAt(content, 0); err != nil && !(errors.Is(err, io.EOF) && n == len(content)) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return content, nil
}

func readKeys(fs files, segment uint64, s seal) (*keys, error) {
	b, err := readFile(fs, keysName(segment))
	if err != nil {
		return nil, err
	}
	return decodeKeys(b, segment, s)
}

// scanKeys collects the table of keys of a segment up to its end frame from its frames. It returns errEnd if there
// is no valid frame before the end frame; offset is behind the last valid one. An incomplete chain is not in the table.
func scanKeys(sc *scanner, check func(f *frame, encoded []byte, offset int) bool) (k *keys, offset int, err error) {
	k = &keys{}
	numbers := make(map[string]int)
	complete := 0 // length of the entries without an incomplete chain,
	end := 0      // and the offset behind them
	for {
		f, encoded, off, err := sc.next()
		if err == nil && !check(&f, encoded, off) {
			err = errEnd
		}
		if err != nil {
			k.entries = k.entries[:complete]
			return k, end, err
		}
		if f.kind == kindEnd {
			return k, sc.offset, nil
		}
		k.add(&f, off, numbers)
		if f.flags&flagContinues == 0 {
			complete, end = len(k.entries), sc.offset
		}
	}
}
