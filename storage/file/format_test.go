package file

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"sessionserver/storage"
)

// decode decodes a whole file, as Get does.
func decode(key storage.Key, file []byte) (storage.Record, error) {
	h, err := decodeHead(key, file, int64(len(file)))
	if err != nil {
		return storage.Record{}, err
	}
	return h.record(file[headSize:])
}

// FuzzDecode checks that decoding any content returns ErrCorrupt or a record that is encoded as the same content. An
// encoded record is decoded, but not after a change of one byte.
func FuzzDecode(f *testing.F) {
	for _, r := range []storage.Record{
		{},
		{Data: []byte("x"), Expires: time.UnixMilli(1), Marker: true},
		{Data: bytes.Repeat([]byte("ab"), 1000), Expires: time.UnixMilli(1<<62 - 1)},
	} {
		key := storage.Key{Tenant: "acme", ID: storage.ID{1, 2, 3}}
		f.Add(key.Tenant, key.ID[:], encode(key, r), r.Expires.UnixMilli(), r.Marker, uint16(3), byte(1))
	}
	f.Add("", []byte{}, []byte(magic), int64(-1), true, uint16(30), byte(0x80))
	f.Fuzz(func(
		t *testing.T, tenant string, id, content []byte, expires int64, marker bool, position uint16, flip byte,
	) {
		key := storage.Key{Tenant: tenant}
		copy(key.ID[:], id)
		rec, err := decode(key, content)
		switch {
		case err == nil && !bytes.Equal(encode(key, rec), content):
			t.Errorf("%q is decoded as %+v, which is encoded as %q", content, rec, encode(key, rec))
		case err != nil && !errors.Is(err, storage.ErrCorrupt):
			t.Errorf("decode(%q): error = %v, want storage.ErrCorrupt", content, err)
		case err != nil && (len(rec.Data) > 0 || rec.Marker):
			t.Errorf("decode(%q) returned data with an error", content)
		}

		want := storage.Record{Data: content, Expires: time.UnixMilli(expires), Marker: marker}
		file := encode(key, want)
		got, err := decode(key, file)
		sameExpiry := got.Expires.UnixMilli() == want.Expires.UnixMilli()
		if err != nil || !bytes.Equal(got.Data, content) || !sameExpiry || got.Marker != marker {
			t.Errorf("decode = %+v, %v, want %+v", got, err, want)
		}
		if flip != 0 {
			file[int(position)%len(file)] ^= flip
			if got, err := decode(key, file); !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("decode after a change of byte %d = %+v, %v", int(position)%len(file), got, err)
			}
		}
	})
}

// FuzzTenant checks that two tenants never share a folder on any file system, and every folder is inside the store's
// folder.
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
		if back, ok := decodeTenant(name); ok && encodeTenant(back) != name { // name is that of a foreign folder
			t.Errorf("foreign folder %q is decoded as %q", name, back)
		}
	})
}
