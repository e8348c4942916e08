package file

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"sessionserver/storage"
)

// decode reads a whole file, as Get does.
func decode(key storage.Key, file []byte) (storage.Record, error) {
	h, err := decodeHead(key, file, int64(len(file)))
	if err != nil {
		return storage.Record{}, err
	}
	return h.record(file[headSize:])
}

// FuzzDecode: whatever a file holds is answered with ErrCorrupt or is exactly what encode writes for the answer; what
// encode writes is understood, and not any more after one byte of it has changed.
func FuzzDecode(f *testing.F) {
	for _, r := range []storage.Record{
		{}, {Data: []byte("x"), Expires: time.UnixMilli(1), Marker: true}, {Data: bytes.Repeat([]byte("ab"), 1000), Expires: time.UnixMilli(1<<62 - 1)},
	} {
		key := storage.Key{Tenant: "acme", ID: storage.ID{1, 2, 3}}
		f.Add(key.Tenant, key.ID[:], encode(key, r), r.Expires.UnixMilli(), r.Marker, uint16(3), byte(1))
	}
	f.Add("", []byte{}, []byte(magic), int64(-1), true, uint16(30), byte(0x80))
	f.Fuzz(func(t *testing.T, tenant string, id, content []byte, expires int64, marker bool, where uint16, flip byte) {
		key := storage.Key{Tenant: tenant}
		copy(key.ID[:], id)
		rec, err := decode(key, content)
		switch {
		case err == nil && !bytes.Equal(encode(key, rec), content):
			t.Errorf("%q is read as %+v, which is written as %q", content, rec, encode(key, rec))
		case err != nil && !errors.Is(err, storage.ErrCorrupt):
			t.Errorf("%q: %v, want storage.ErrCorrupt", content, err)
		case err != nil && (len(rec.Data) > 0 || rec.Marker):
			t.Errorf("%q: data with an error", content)
		}

		want := storage.Record{Data: content, Expires: time.UnixMilli(expires), Marker: marker}
		file := encode(key, want)
		got, err := decode(key, file)
		if err != nil || !bytes.Equal(got.Data, content) || got.Expires.UnixMilli() != want.Expires.UnixMilli() || got.Marker != marker {
			t.Errorf("wrote %+v, read %+v, %v", want, got, err)
		}
		if flip != 0 {
			file[int(where)%len(file)] ^= flip
			if got, err := decode(key, file); !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("byte %d changed: %+v, %v", int(where)%len(file), got, err)
			}
		}
	})
}

// FuzzTenant: two tenants never share a folder, on no file system, and no folder is anywhere else.
func FuzzTenant(f *testing.F) {
	for _, name := range []string{"a", "A", "../x", "=41", "a\x00", "é", "\xff", "lock", "=4", "=", "=zz", "=61"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		folder := encodeTenant(name)
		for _, c := range []byte(folder) {
			if !plain(c) && c != '=' {
				t.Errorf("%q is encoded as %q", name, folder)
			}
		}
		valid := 0 < len(name) && len(name) <= maxTenant
		if back, ok := decodeTenant(folder); ok != valid || valid && back != name {
			t.Errorf("%q is encoded as %q, which is decoded as %q, %t", name, folder, back, ok)
		}
		if back, ok := decodeTenant(name); ok && encodeTenant(back) != name { // name as a foreign folder
			t.Errorf("folder %q is taken for that of %q", name, back)
		}
	})
}
