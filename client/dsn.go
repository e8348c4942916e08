package client

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// DefaultPort is the port of a DSN without one.
	DefaultPort = 9090

	// DefaultTimeout is the time for a connection or a reply of a DSN without a timeout.
	DefaultTimeout = 10 * time.Second

	// NoWait in place of a time to wait for a lock disables the wait.
	NoWait time.Duration = -1

	// waitMax is the longest wait for a lock that a server allows.
	waitMax = 10 * time.Minute
)

// DSN holds the address of a server, the credentials of an app and the settings of a client. Printing or logging a DSN
// does not reveal its secret.
//
//	tls://app:secret@host:9090/tenant?lock_timeout=10
//	tcp://localhost                                         no credentials: the server chooses the identity
//	tls://host/tenant?certfile=app.pem&keyfile=app.key      a certificate in place of a secret
//	unix://app:secret@/run/sessionserver.sock?tenant=acme   the path is the socket's, the tenant is a parameter
//	localhost:9090                                          the same as tcp://localhost:9090
//
// Reserved characters in any part of a DSN are percent-encoded. An unencoded @ may only stand before the host.
type DSN struct {
	Scheme string // tls, tcp or unix
	Host   string // a name or an address, without brackets; "" for unix
	Port   int    // 0 for unix
	Socket string // path of the socket; "" unless unix

	Tenant string // may be "" without credentials
	App    string // "" without credentials
	Secret Secret

	// Timeout (timeout) is the time for a connection or a reply, waits for locks not counted. 0 is DefaultTimeout.
	Timeout time.Duration

	// LockTimeout (lock_timeout) is how long to wait for a lock. 0 is the tenant's setting; NoWait is lock_timeout=0.
	LockTimeout time.Duration

	// OnLockTimeout (on_lock_timeout) is fail or readonly, see Client.Open. "" is fail.
	OnLockTimeout string

	// Lifetime (lifetime) is the idle lifetime of new sessions, in whole seconds. 0 is the tenant's setting.
	Lifetime time.Duration

	CAFile   string // cafile: PEM file of the trusted roots, in place of the system's; tls only
	CertFile string // certfile: PEM file of the client's certificate; tls only
	KeyFile  string // keyfile: PEM file of its key; tls only

	// The save handlers of other languages use these fields; this client does not.
	Mode       string // mode: rw or r
	Format     string // format: php or json
	Persistent bool   // persistent: 0 or 1
	Grace      string // grace: whole seconds for which a replaced id remains valid
}

// ParseDSN parses a DSN. The error is a *DSNError that lists every problem.
func ParseDSN(text string) (*DSN, error) {
	d := new(DSN)
	p := dsnParser{dsn: d}
	p.parse(text)
	if len(p.problems) > 0 {
		return nil, &DSNError{p.problems}
	}
	return d, nil
}

// dsnParser parses a DSN and collects the problems. The problems never quote the input, since an unescaped character in
// a secret may move a part of the secret anywhere.
type dsnParser struct {
	dsn      *DSN
	problems []string
}

func (p *dsnParser) problem(format string, args ...any) {
	p.problems = append(p.problems, fmt.Sprintf(format, args...))
}

// unwrap removes a byte order mark and quotes around the text, which editors and env files add.
func (p *dsnParser) unwrap(text string) string {
	text = strings.TrimPrefix(text, "\xef\xbb\xbf")
	if strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") {
		p.problem("the text is UTF-16 (save it as UTF-8)")
		return ""
	}
	for _, quote := range []string{`"`, "'"} {
		rest, found := strings.CutPrefix(text, quote)
		if !found {
			continue
		}
		if text, found = strings.CutSuffix(strings.TrimRight(rest, "\r\n"), quote); !found {
			p.problem("opening quote without a closing one (remove it)")
		}
		break
	}
	return text
}

func (p *dsnParser) parse(text string) {
	d := p.dsn
	if text = p.unwrap(text); len(p.problems) > 0 {
		return
	}
	for i := range len(text) {
		if text[i] <= ' ' || text[i] == 0x7f {
			p.problem("byte %d: space, line end or control character (percent-encode or remove it)", i+1)
			return
		}
	}
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		if strings.ContainsAny(text, "@/?#") {
			p.problem("scheme: missing (allowed: tls://, tcp://, unix://, or host:port alone)")
			return
		}
		scheme, rest = "tcp", text
	}
	switch d.Scheme = scheme; scheme {
	case "tls", "tcp", "unix":
	default:
		p.problem("scheme: unknown (allowed: tls, tcp, unix)")
		d.Scheme = "tls" // which allows all other parts
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, rest := rest[:end], rest[end:]
	if strings.Contains(rest, "@") {
		p.problem("unexpected @ after the host (percent-encode / ? # and @ in the secret and in parameters)")
		return
	}
	if strings.Contains(rest, "#") {
		p.problem("unexpected # (percent-encode it as %%23)")
		return
	}
	at := strings.LastIndex(authority, "@")
	if at >= 0 {
		p.credentials(authority[:at])
	}
	path, query, _ := strings.Cut(rest, "?")
	if d.Scheme == "unix" {
		p.socket(authority[at+1:], path)
	} else {
		p.host(authority[at+1:])
		if name := strings.TrimPrefix(path, "/"); name != "" {
			p.tenant(name)
		}
	}
	p.parameters(query)
	p.checkCombination(at >= 0)
}

// checkCombination reports problems between the parts of a DSN.
func (p *dsnParser) checkCombination(credentials bool) {
	d := p.dsn
	if (d.CertFile == "") != (d.KeyFile == "") {
		p.problem("certfile, keyfile: set both or neither")
	}
	if d.Scheme != "tls" && (d.CAFile != "" || d.CertFile != "" || d.KeyFile != "") {
		p.problem("cafile, certfile, keyfile: allowed only with the scheme tls")
	}
	if len(p.problems) > 0 {
		return
	}
	syntax := "host/tenant"
	if d.Scheme == "unix" {
		syntax = "?tenant=name"
	}
	switch {
	case credentials && d.Tenant == "":
		p.problem("tenant: missing, required with an app and a secret (%s)", syntax)
	case !credentials && d.Tenant != "" && d.CertFile == "":
		p.problem("tenant: allowed only with credentials (app:secret@ before the host, or certfile)")
	}
}

func (p *dsnParser) decode(name, text string) string {
	decoded, err := url.PathUnescape(text)
	if err != nil {
		p.problem("%s: invalid percent-encoding (write %%25 for a percent sign)", name)
		return ""
	}
	if strings.IndexByte(decoded, 0) >= 0 {
		p.problem("%s: NUL byte not allowed", name)
		return ""
	}
	return decoded
}

func (p *dsnParser) credentials(text string) {
	app, secret, _ := strings.Cut(text, ":")
	p.dsn.App = p.name("app", app)
	before := len(p.problems)
	p.dsn.Secret = NewSecret(p.decode("secret", secret))
	if p.dsn.Secret.IsZero() && len(p.problems) == before {
		p.problem("secret: missing (app:secret@host)")
	}
}

func (p *dsnParser) tenant(text string) { p.dsn.Tenant = p.name("tenant", text) }

// name parses the name of a tenant or an app, by the rule of the server.
func (p *dsnParser) name(part, text string) string {
	before := len(p.problems)
	name := p.decode(part, text)
	if len(p.problems) == before && !validName(name) {
		p.problem("%s: allowed: 1 to 64 of a-z, 0-9, - and _, a letter or digit first", part)
		return ""
	}
	return name
}

func validName(name string) bool {
	if len(name) < 1 || len(name) > 64 {
		return false
	}
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '-' && c != '_') {
			return false
		}
	}
	return true
}

func (p *dsnParser) socket(host, path string) {
	if host != "" {
		p.problem("host: not allowed with the scheme unix (unix:///path/to/socket)")
	}
	p.dsn.Socket = p.decode("socket", path)
	if len(p.dsn.Socket) < 2 {
		p.problem("socket: missing (unix:///path/to/socket)")
	}
}

func (p *dsnParser) host(text string) {
	d := p.dsn
	host, port := text, ""
	hasPort := false
	if strings.HasPrefix(text, "[") {
		inside, after, closed := strings.Cut(text[1:], "]")
		if !closed || after != "" && after[0] != ':' {
			p.problem("host: malformed ([IPv6]:port)")
			return
		}
		addr, err := netip.ParseAddr(p.decode("host", inside))
		if err != nil || !addr.Is6() || !validHost(addr.Zone()) {
			p.problem("host: not an IPv6 address in brackets ([IPv6]:port)")
		} else {
			d.Host = addr.String()
		}
		hasPort = after != ""
		port = strings.TrimPrefix(after, ":")
	} else {
		host, port, hasPort = strings.Cut(text, ":")
		switch {
		case strings.Contains(port, ":"):
			p.problem("host: more than one colon (write an IPv6 address in brackets, and app:secret before an @)")
			return
		case host == "":
			p.problem("host: missing")
		case !validHost(host):
			p.problem("host: allowed: a name of a-z, 0-9, - _ and ., an IPv4 address, or an IPv6 address in brackets")
		case strings.HasPrefix(host, "hss_"):
			p.problem("host: looks like a secret (app:secret@host)")
		default:
			d.Host = host
		}
	}
	d.Port = DefaultPort
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			p.problem("port: allowed: 1 to 65535")
		}
		d.Port = int(n)
	}
}

func validHost(host string) bool {
	for _, c := range []byte(host) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return len(host) <= 253
}

// parameter is a row of the table of parameters.
type parameter struct {
	name  string
	parse func(*DSN, string) bool // reports whether the value is valid
	write func(*DSN) string       // returns the value for String, "" for the default
	rule  string                  // the allowed values
}

var dsnParameters = []parameter{
	{"tenant", nil, func(d *DSN) string {
		if d.Scheme != "unix" {
			return ""
		}
		return d.Tenant
	}, ""}, // parameters parses the tenant, since the rule depends on the scheme
	duration("timeout", func(d *DSN) *time.Duration { return &d.Timeout }, time.Millisecond, time.Hour),
	duration("lock_timeout", func(d *DSN) *time.Duration { return &d.LockTimeout }, 0, waitMax),
	choice("on_lock_timeout", func(d *DSN) *string { return &d.OnLockTimeout }, "fail", "readonly"),
	choice("mode", func(d *DSN) *string { return &d.Mode }, "rw", "r"),
	{"lifetime",
		func(d *DSN, v string) bool {
			n, err := strconv.ParseUint(v, 10, 32)
			d.Lifetime = time.Duration(n) * time.Second
			return err == nil && n >= 1 && d.Lifetime <= lifetimeMax
		},
		func(d *DSN) string {
			if d.Lifetime == 0 {
				return ""
			}
			return seconds(d.Lifetime)
		},
		fmt.Sprintf("1 to %d, whole seconds", int(lifetimeMax.Seconds()))},
	choice("format", func(d *DSN) *string { return &d.Format }, "php", "json"),
	{"persistent",
		func(d *DSN, v string) bool {
			d.Persistent = v == "1"
			return v == "0" || v == "1"
		},
		func(d *DSN) string {
			if d.Persistent {
				return "1"
			}
			return ""
		},
		"0, 1"},
	{"grace",
		func(d *DSN, v string) bool {
			d.Grace = v
			n, err := strconv.ParseUint(v, 10, 16)
			return err == nil && n <= graceMax
		},
		func(d *DSN) string { return d.Grace },
		fmt.Sprintf("0 to %d, whole seconds", graceMax)},
	file("cafile", func(d *DSN) *string { return &d.CAFile }),
	file("certfile", func(d *DSN) *string { return &d.CertFile }),
	file("keyfile", func(d *DSN) *string { return &d.KeyFile }),
}

// graceMax is the longest grace period, in seconds, that a server accepts by default.
const graceMax = 300

// lifetimeMax is the longest lifetime that a server accepts.
const lifetimeMax = 10 * 365 * 24 * time.Hour

// duration returns a parameter in seconds, with up to three decimals. An allowed 0 is stored as NoWait.
func duration(name string, field func(*DSN) *time.Duration, least, most time.Duration) parameter {
	return parameter{name,
		func(d *DSN, v string) bool {
			value, ok := parseSeconds(v)
			if value < least || value > most {
				return false
			}
			if value == 0 {
				value = NoWait
			}
			*field(d) = value
			return ok
		},
		func(d *DSN) string {
			switch v := *field(d); {
			case v == 0:
				return ""
			case v < 0:
				return "0"
			default:
				return strconv.FormatFloat(float64(v.Milliseconds())/1000, 'f', -1, 64)
			}
		},
		fmt.Sprintf("%g to %g seconds, with up to three decimals", least.Seconds(), most.Seconds())}
}

// parseSeconds parses seconds with up to three decimals.
func parseSeconds(v string) (time.Duration, bool) {
	whole, decimals, point := strings.Cut(v, ".")
	if point && decimals == "" || len(decimals) > 3 || len(whole) > 9 {
		return 0, false
	}
	n, err := strconv.ParseUint(whole+(decimals + "000")[:3], 10, 64)
	return time.Duration(n) * time.Millisecond, err == nil && whole != ""
}

// choice returns a parameter with a set of allowed values.
func choice(name string, field func(*DSN) *string, allowed ...string) parameter {
	return parameter{name,
		func(d *DSN, v string) bool {
			*field(d) = v
			for _, a := range allowed {
				if v == a {
					return true
				}
			}
			return false
		},
		func(d *DSN) string { return *field(d) },
		strings.Join(allowed, ", ")}
}

// file returns a parameter that is the path of a file.
func file(name string, field func(*DSN) *string) parameter {
	return parameter{name,
		func(d *DSN, v string) bool {
			*field(d) = v
			return v != ""
		},
		func(d *DSN) string { return *field(d) },
		"the path of a PEM file"}
}

func (p *dsnParser) parameters(query string) {
	given := make(map[string]bool)
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		name, text, _ := strings.Cut(pair, "=")
		row := findParameter(name)
		switch {
		case row == nil:
			p.unknown(name)
			continue
		case given[name]:
			p.problem("%s: duplicate", name)
			continue
		}
		given[name] = true
		if name == "tenant" {
			if p.dsn.Scheme == "unix" {
				p.tenant(text)
			} else {
				p.problem("tenant: allowed as a parameter only with the scheme unix (host/tenant)")
			}
			continue
		}
		before := len(p.problems)
		value := p.decode(name, text)
		if len(p.problems) == before && !row.parse(p.dsn, value) {
			p.problem("%s: allowed: %s", name, row.rule)
		}
	}
}

func findParameter(name string) *parameter {
	for i := range dsnParameters {
		if dsnParameters[i].name == name {
			return &dsnParameters[i]
		}
	}
	return nil
}

// unknown reports an unknown parameter. The problem contains the name only if it looks like a misspelled parameter, and
// not like a part of a secret.
func (p *dsnParser) unknown(name string) {
	shown := " " + name
	if len(name) > 20 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "" {
		shown = ""
	}
	names := make([]string, 0, len(dsnParameters))
	for _, row := range dsnParameters {
		if row.name != "tenant" || p.dsn.Scheme == "unix" {
			names = append(names, row.name)
		}
	}
	p.problem("unknown parameter%s (allowed: %s)", shown, strings.Join(names, ", "))
}

// Addr returns host:port, or the path of the socket.
func (d DSN) Addr() string {
	if d.Scheme == "unix" {
		return d.Socket
	}
	return net.JoinHostPort(d.Host, strconv.Itoa(d.Port))
}

// String returns the DSN with xxxxx in place of the secret.
func (d DSN) String() string {
	var b strings.Builder
	b.WriteString(d.Scheme + "://")
	if d.App != "" || !d.Secret.IsZero() {
		b.WriteString(d.App + ":" + d.Secret.String() + "@")
	}
	if d.Scheme == "unix" {
		b.WriteString(escape(d.Socket))
	} else {
		host, zone, zoned := strings.Cut(d.Host, "%")
		if zoned {
			host += "%25" + zone
		}
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		b.WriteString(host + ":" + strconv.Itoa(d.Port))
		if d.Tenant != "" {
			b.WriteString("/" + d.Tenant)
		}
	}
	separator := "?"
	for _, row := range dsnParameters {
		if v := row.write(&d); v != "" {
			b.WriteString(separator + row.name + "=" + escape(v))
			separator = "&"
		}
	}
	return b.String()
}

// escape percent-encodes every character that is reserved in any part of a DSN.
func escape(s string) string {
	return strings.NewReplacer("%2F", "/", "+", "%20").Replace(url.QueryEscape(s))
}

// GoString returns the same as String.
func (d DSN) GoString() string { return d.String() }

// LogValue returns the string that slog records.
func (d DSN) LogValue() slog.Value { return slog.StringValue(d.String()) }

// MarshalText returns the text of String for encoders. It cannot be parsed again, since it lacks the secret.
func (d DSN) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Reveal returns the DSN with its secret, for a program that creates one and hands it to its owner.
func (d DSN) Reveal() string {
	if d.Secret.IsZero() {
		return d.String()
	}
	secret := strings.ReplaceAll(escape(d.Secret.Reveal()), "/", "%2F")
	return strings.Replace(d.String(), ":"+concealed+"@", ":"+secret+"@", 1)
}
