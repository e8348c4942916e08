package file

import (
	"encoding/hex"
	"fmt"
	"path"
	"strings"

	"sessionserver/storage"
)

// The tree of files below the store's folder:
//
//	lock                                             locked by the store that has the folder open
//	journal                                          of the batch in progress, see batch.go
//	tenants/<tenant>/<2 digits>/<64 digits>          a record; the digits are its id, and before that its first byte
//	tenants/<tenant>/<2 digits>/<64 digits>.<…>.tmp  a record being written, or left by a crash
//	damaged/<number>.<tenant>.<64 digits>            a damaged file that was set aside, see damage.go
//
// The tenant's name is encoded, and digits are hexadecimal.
const (
	lockName      = "lock"
	journalName   = "journal"
	tenantsFolder = "tenants"
	damagedFolder = "damaged"
	tempSuffix    = ".tmp"
	maxTenant     = 64 // bytes, see package storage
)

// encodeTenant returns the name of a tenant's folder. It contains no capitals, which some file systems treat like
// small letters, and no dots or slashes. Every byte but small letters, digits, '-' and '_' is encoded as '=' and
// two hex digits.
func encodeTenant(tenant string) string {
	var b strings.Builder
	for i := range len(tenant) {
		if c := tenant[i]; plain(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02x", c)
		}
	}
	return b.String()
}

// decodeTenant is the inverse of encodeTenant. It reports false for a name that encodeTenant does not return.
func decodeTenant(name string) (string, bool) {
	var tenant []byte
	for i := 0; i < len(name); i++ {
		if name[i] != '=' {
			tenant = append(tenant, name[i])
			continue
		}
		c, err := hex.DecodeString(name[i+1 : min(i+3, len(name))])
		if err != nil || len(c) != 1 {
			return "", false
		}
		tenant = append(tenant, c[0])
		i += 2
	}
	ok := 0 < len(tenant) && len(tenant) <= maxTenant && encodeTenant(string(tenant)) == name
	return string(tenant), ok
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// subFolder returns the folder of the records whose ids begin with b.
func subFolder(tenantFolder string, b byte) string {
	return tenantFolder + "/" + hex.EncodeToString([]byte{b})
}

// recordName returns the name of a record's file in its folder.
func recordName(id storage.ID) string { return hex.EncodeToString(id[:]) }

// parseRecordName is the inverse of recordName. It reports false for every other name.
func parseRecordName(name string) (id storage.ID, ok bool) {
	b, err := hex.DecodeString(name)
	if err != nil || len(b) != len(id) || name != strings.ToLower(name) {
		return id, false
	}
	return storage.ID(b), true
}

// tempTarget returns the path of the record for which a temporary file was written. It reports false for any other
// path.
func tempTarget(temp string) (target string, ok bool) {
	folder, base := path.Split(temp)
	name, _, dotted := strings.Cut(base, ".")
	if _, ok := parseRecordName(name); !ok || !dotted || !strings.HasSuffix(base, tempSuffix) {
		return "", false
	}
	return folder + name, true
}
