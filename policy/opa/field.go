package opa

import (
	"encoding/binary"
	"math/bits"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"sessionserver/policy"
)

// field is a fact of an input: a leaf of the document that policies see.
type field uint

const (
	tenant field = iota
	app
	role
	command
	access
	mode
	key
	address
	listener
	tlsVersion
	certSubject
	certDNSNames
	certURIs
	certSHA256
	certNotAfter
	sessionOpen
	sessionNew
	sessionAge
	sessionBytes
	sessionKeys
	fieldCount
)

// paths are the positions of the fields in the document.
var paths = [fieldCount]string{
	tenant: "tenant", app: "app", role: "role", command: "command", access: "access", mode: "mode", key: "key",
	address: "address", listener: "listener",
	tlsVersion: "tls.version", certSubject: "tls.certificate.subject", certDNSNames: "tls.certificate.dns_names",
	certURIs:   "tls.certificate.uris",
	certSHA256: "tls.certificate.sha256", certNotAfter: "tls.certificate.not_after_ns",
	sessionOpen: "session.open", sessionNew: "session.new", sessionAge: "session.age_s",
	sessionBytes: "session.bytes", sessionKeys: "session.keys",
}

// fieldSet is a set of fields, one bit each.
type fieldSet uint32

const everyField fieldSet = 1<<fieldCount - 1

// under returns the fields that a reference to path can read: those at, below and above it.
func under(path string) fieldSet {
	var set fieldSet
	for f, p := range paths {
		if path == "" || strings.HasPrefix(p+".", path+".") || strings.HasPrefix(path+".", p+".") {
			set |= 1 << f
		}
	}
	return set
}

func (s fieldSet) String() string {
	if s == everyField {
		return "the whole input"
	}
	var names []string
	for f, p := range paths {
		if s&(1<<f) != 0 {
			names = append(names, p)
		}
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

// appendKey appends the fields of s in in. Two inputs have the same key if and only if no policy can distinguish them
// by these fields. An absent field differs from an empty one.
func (s fieldSet) appendKey(dst []byte, in *policy.Input) []byte {
	for rest := uint32(s); rest != 0; rest &= rest - 1 {
		dst = appendField(dst, in, field(bits.TrailingZeros32(rest)))
	}
	return dst
}

func appendField(dst []byte, in *policy.Input, f field) []byte {
	switch f {
	case tenant:
		return appendString(dst, in.Tenant)
	case app:
		return appendString(dst, in.App)
	case role:
		return appendString(dst, in.Role)
	case command:
		return appendString(dst, in.Command)
	case access:
		return append(dst, byte(in.Access))
	case mode:
		return appendString(dst, in.Mode)
	case key:
		dst = appendBool(dst, in.Key != nil)
		return append(binary.AppendUvarint(dst, uint64(len(in.Key))), in.Key...)
	case address:
		a := in.Address.Unmap()
		all := a.As16() // zero for a Unix socket; also for ::, which is 128 bits long
		return append(append(dst, byte(a.BitLen())), all[:]...)
	case listener:
		return appendString(dst, in.Listener)
	case tlsVersion:
		return appendString(dst, in.TLS)
	case sessionOpen:
		return appendBool(dst, in.Session.Open)
	}
	if f >= sessionOpen {
		dst = appendBool(dst, in.Session.Open)
		switch {
		case !in.Session.Open:
			return dst
		case f == sessionNew:
			return appendBool(dst, in.Session.New)
		case f == sessionAge:
			return binary.AppendVarint(dst, in.Session.Age)
		case f == sessionBytes:
			return binary.AppendVarint(dst, int64(in.Session.Bytes))
		default:
			return binary.AppendVarint(dst, int64(in.Session.Keys))
		}
	}
	c := certificate(in)
	dst = appendBool(dst, c != nil)
	switch {
	case c == nil:
		return dst
	case f == certSubject:
		return appendString(dst, c.Subject)
	case f == certDNSNames:
		return appendStrings(dst, c.DNSNames)
	case f == certURIs:
		return appendStrings(dst, c.URIs)
	case f == certSHA256:
		return appendString(dst, c.SHA256)
	default:
		return binary.AppendVarint(dst, c.NotAfter.UnixNano())
	}
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendStrings(dst []byte, list []string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for _, s := range list {
		dst = appendString(dst, s)
	}
	return dst
}

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// certificate returns the certificate of an input, or nil without TLS.
func certificate(in *policy.Input) *policy.Certificate {
	if in.TLS == "" {
		return nil
	}
	return in.Certificate
}

// Terms of the names in the document, created once.
var (
	nameTenant, nameApp, nameRole    = ast.StringTerm("tenant"), ast.StringTerm("app"), ast.StringTerm("role")
	nameCommand, nameAccess          = ast.StringTerm("command"), ast.StringTerm("access")
	nameMode, nameKey                = ast.StringTerm("mode"), ast.StringTerm("key")
	nameAddress, nameListener        = ast.StringTerm("address"), ast.StringTerm("listener")
	nameTLS, nameVersion             = ast.StringTerm("tls"), ast.StringTerm("version")
	nameCertificate, nameSubject     = ast.StringTerm("certificate"), ast.StringTerm("subject")
	nameDNSNames, nameURIs           = ast.StringTerm("dns_names"), ast.StringTerm("uris")
	nameSHA256, nameNotAfter         = ast.StringTerm("sha256"), ast.StringTerm("not_after_ns")
	nameSession, nameOpen, nameNew   = ast.StringTerm("session"), ast.StringTerm("open"), ast.StringTerm("new")
	nameAge, nameBytes, nameKeys     = ast.StringTerm("age_s"), ast.StringTerm("bytes"), ast.StringTerm("keys")
	nameApps, nameRead, nameWrite    = ast.StringTerm("apps"), ast.StringTerm("read"), ast.StringTerm("write")
	nameSettings, nameTenants, noMap = ast.StringTerm("settings"), ast.StringTerm("tenants"), map[string]any{}
)

// inputTerm returns the document of in that policies see. The schema describes it.
func inputTerm(in *policy.Input) *ast.Term {
	session := ast.NewObject([2]*ast.Term{nameOpen, ast.BooleanTerm(in.Session.Open)})
	if in.Session.Open {
		session.Insert(nameNew, ast.BooleanTerm(in.Session.New))
		session.Insert(nameAge, integer(in.Session.Age))
		session.Insert(nameBytes, integer(int64(in.Session.Bytes)))
		session.Insert(nameKeys, integer(int64(in.Session.Keys)))
	}
	doc := ast.NewObject(
		[2]*ast.Term{nameTenant, ast.StringTerm(in.Tenant)},
		[2]*ast.Term{nameApp, ast.StringTerm(in.App)},
		[2]*ast.Term{nameRole, ast.StringTerm(in.Role)},
		[2]*ast.Term{nameCommand, ast.StringTerm(in.Command)},
		[2]*ast.Term{nameAccess, ast.StringTerm(in.Access.String())},
		[2]*ast.Term{nameListener, ast.StringTerm(in.Listener)},
		[2]*ast.Term{nameSession, ast.NewTerm(session)},
	)
	if in.Mode != "" {
		doc.Insert(nameMode, ast.StringTerm(in.Mode))
	}
	if in.Key != nil {
		doc.Insert(nameKey, ast.StringTerm(string(in.Key)))
	}
	if in.Address.IsValid() {
		doc.Insert(nameAddress, ast.StringTerm(in.Address.Unmap().WithZone("").String()))
	}
	if in.TLS != "" {
		tls := ast.NewObject([2]*ast.Term{nameVersion, ast.StringTerm(in.TLS)})
		if c := certificate(in); c != nil {
			tls.Insert(nameCertificate, ast.ObjectTerm(
				[2]*ast.Term{nameSubject, ast.StringTerm(c.Subject)},
				[2]*ast.Term{nameDNSNames, stringsTerm(c.DNSNames)},
				[2]*ast.Term{nameURIs, stringsTerm(c.URIs)},
				[2]*ast.Term{nameSHA256, ast.StringTerm(c.SHA256)},
				[2]*ast.Term{nameNotAfter, integer(c.NotAfter.UnixNano())},
			))
		}
		doc.Insert(nameTLS, ast.NewTerm(tls))
	}
	return ast.NewTerm(doc)
}

func integer(n int64) *ast.Term { return ast.IntNumberTerm(int(n)) }

func stringsTerm(list []string) *ast.Term {
	terms := make([]*ast.Term, len(list))
	for i, s := range list {
		terms[i] = ast.StringTerm(s)
	}
	return ast.ArrayTerm(terms...)
}
