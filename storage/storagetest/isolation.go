package storagetest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sessionserver/storage"
)

// hostileTenants are names that a driver could confuse with each other, or with paths and reserved names.
func hostileTenants() []string {
	zero, full := storage.ID{}, storage.ID(bytes.Repeat([]byte{0xff}, 32))
	names := []string{
		"a", "A", "ab", "aB", "abc", "b", "aa",
		".", "..", "...", "../x", "../../x", "/x", "x", "a/b", "a/", "/", `a\b`, `..\x`, "a/../b",
		"a\x00b", "a\x00", "\x00", "\x00\x00", "\x01", "a\x01", "a\xff", "\xff", "\xff\xff", "\x7f",
		" ", "a ", " a", "a\n", "a\r\nb", "\t", "*", "?", "[a]", "{a}", "a:b", "a|b", "a%b", "a%2fb", "%61",
		"a=2fb", "=61", "a~b", "~",
		"é", "e\u0301", "É", "ß", "ss", "K", "\u212a", "k", "ı", "i", "I", // some equal after normalization
		"con", "nul", "aux", "lock", "LOCK", "journal", "tmp", ".tmp", "tenants", "-", "--", "_", "$(x)", "'", `"`,
		"a" + string(zero[:]), "a" + string(full[:]), string(zero[:]), string(full[:]),
		strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("A", 64), strings.Repeat("\x00", 64),
		strings.Repeat("\xff", 64), strings.Repeat("/", 64), strings.Repeat("../", 21) + "x", strings.Repeat("é", 32),
	}
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for i := range 4 {
		names = append(names, string(every[i*64:][:64]))
	}
	return names
}

// testIsolation checks that tenants with any names are isolated, and their records stay in the store's folder.
func testIsolation(f *fixture) {
	outer := f.TempDir()
	f.dir = filepath.Join(outer, "store")
	if err := os.Mkdir(f.dir, 0o700); err != nil {
		f.Fatal(err)
	}
	f.open()

	tenants := hostileTenants()
	ids := []storage.ID{{}, storage.ID(bytes.Repeat([]byte{0xff}, 32)), id("one"), id("two")}
	ids = append(ids, ids[2]) // differs from the third id in its last byte only
	ids[4][31]++
	record := func(t, i int) storage.Record {
		return f.rec(strings.Repeat("x", t)+fmt.Sprintf("%d/%d", t, i), time.Duration(t+1)*time.Minute)
	}
	k := func(t, i int) storage.Key { return storage.Key{Tenant: tenants[t], ID: ids[i]} }
	// check compares the store with the expected records. Tenants before the first index have none.
	check := func(first int) {
		f.Helper()
		for t, tenant := range tenants {
			var n, size int64
			for i := range ids {
				if t < first {
					f.wantNone(k(t, i))
					continue
				}
				r := record(t, i)
				f.want(k(t, i), r)
				n++
				size += int64(len(r.Data))
			}
			f.wantUsage(tenant, n, size)
		}
	}
	for t := range tenants {
		for i := range ids {
			f.put(k(t, i), record(t, i))
		}
	}
	check(0)
	if f.h.Durable {
		f.reopen()
		check(0)
	}
	for i := range ids {
		f.delete(k(0, i))
	}
	check(1)

	// The second tenant's records expire. The sweep reports them under its name.
	start := f.now()
	f.advance(2 * time.Minute)
	for t := 2; t < len(tenants); t++ { // the expected expiry has moved with the clock
		for i := range ids {
			f.put(k(t, i), record(t, i))
		}
	}
	removed := f.sweep(50)
	for i := range ids {
		if !f.h.NoSweep && removed[k(1, i)] != 1 {
			f.Errorf("Sweep did not report %s", show(k(1, i)))
		}
		f.delete(k(1, i)) // for a store that does not sweep
	}
	if !f.h.NoSweep && len(removed) != len(ids) {
		f.Errorf("Sweep reported %d keys, want the %d that expired since %v", len(removed), len(ids), start)
	}
	check(2)

	entries, err := os.ReadDir(outer)
	if err != nil {
		f.Fatal(err)
	}
	if len(entries) != 1 {
		f.Errorf("the store wrote outside its folder: %v", entries)
	}
}
