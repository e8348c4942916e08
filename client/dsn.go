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
	// DefaultPort is where a server listens unless the DSN says otherwise.
	DefaultPort = 9090

	// DefaultTimeout is how long a connection or an answer may take unless the DSN says otherwise.
	DefaultTimeout = 10 * time.Second

	// NoWait as a time to wait for a lock is not to wait.
	NoWait time.Duration = -1

	// waitMax is the longest that a server lets anybody wait for a lock.
	waitMax = 10 * time.Minute
)

// DSN says where a server is and who asks. It can be printed and logged: its secret does not show.
//
//	tls://app:secret@host:9090/tenant?lock_timeout=10
//	tcp://localhost                                         no credentials: the server decides who that is
//	tls://host/tenant?certfile=app.pem&keyfile=app.key      a certificate is the credential
//	unix://app:secret@/run/sessionserver.sock?tenant=acme   the path is the socket's, so a parameter names the tenant
//	localhost:9090                                          the same as tcp://localhost:9090
//
// What does not stand for itself in a part of a DSN is percent-encoded; an @ must be so everywhere but before the
// host.
type DSN struct {
	Scheme string // tls, tcp or unix
	Host   string // a name or an address, without brackets; "" for unix
	Port   int    // 0 for unix
	Socket string // path of the socket; "" unless unix

	Tenant string // may be "" without credentials
	App    string // "" without credentials
	Secret Secret

	Timeout       time.Duration // timeout: for a connection, or an answer (waits for a lock not counted); 0: DefaultTimeout
	LockTimeout   time.Duration // lock_timeout: how long to wait for a lock; 0: as the tenant says, NoWait: lock_timeout=0
	OnLockTimeout string        // on_lock_timeout: fail or readonly, see Client.Open; "" is fail
	Lifetime      time.Duration // lifetime: of the sessions that New makes, in whole seconds; 0 is the tenant's

	CAFile   string // cafile: PEM file of the roots to trust instead of the system's; tls only
	CertFile string // certfile: PEM file of the client's certificate; tls only
	KeyFile  string // keyfile: PEM file of its key; tls only

	// For the save handlers of other languages; this client does not use them.
	Mode       string // mode: rw or r
	Format     string // format: php or json
	Persistent bool   // persistent: 0 or 1
	Grace      string // grace: whole seconds for which an id leads on once it is replaced
}

// ParseDSN reads a DSN. Its error is a *DSNError that tells everything that is wrong.
func ParseDSN(text string) (*DSN, error) {
	d := new(DSN)
	p := dsnParser{dsn: d}
	p.parse(text)
	if len(p.problems) > 0 {
		return nil, &DSNError{p.problems}
	}
	return d, nil
}

// dsnParser collects problems. It never quotes what it reads: a secret with an unescaped character in it may turn up
// in any part.
type dsnParser struct {
	dsn      *DSN
	problems []string
}

func (p *dsnParser) problem(format string, args ...any) {
	p.problems = append(p.problems, fmt.Sprintf(format, args...))
}

// unwrap takes away what editors and env files add and what means nothing: a byte order mark, and quotes around the text.
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
		if text, found = strings.CutSuffix(rest, quote); !found {
			p.problem("a quote at the beginning and none like it at the end (take it away)")
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
			p.problem("byte %d: a space, line end or control character (percent-encode it, or take it away)", i+1)
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
		d.Scheme = "tls" // with which the rest may be all that there is
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, rest := rest[:end], rest[end:]
	if strings.Contains(rest, "@") {
		p.problem("an @ after the host: percent-encode / ? # and @ in the secret and in parameters")
		return
	}
	if strings.Contains(rest, "#") {
		p.problem("a # is not allowed (percent-encode it as %%23)")
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
	p.together(at >= 0)
}

// together checks what one part alone cannot tell.
func (p *dsnParser) together(credentials bool) {
	d := p.dsn
	if (d.CertFile == "") != (d.KeyFile == "") {
		p.problem("certfile, keyfile: one needs the other")
	}
	if d.Scheme != "tls" && (d.CAFile != "" || d.CertFile != "" || d.KeyFile != "") {
		p.problem("cafile, certfile, keyfile: for the scheme tls only")
	}
	if len(p.problems) > 0 {
		return
	}
	where := "host/tenant"
	if d.Scheme == "unix" {
		where = "?tenant=name"
	}
	switch {
	case credentials && d.Tenant == "":
		p.problem("tenant: missing beside app and secret (%s)", where)
	case !credentials && d.Tenant != "" && d.CertFile == "":
		p.problem("tenant: needs credentials (app:secret@ before the host, or certfile); otherwise the server decides it")
	}
}

func (p *dsnParser) decode(name, text string) string {
	decoded, err := url.PathUnescape(text)
	if err != nil {
		p.problem("%s: a %% is not followed by two hexadecimal digits (write %%25 for %% itself)", name)
		return ""
	}
	if strings.IndexByte(decoded, 0) >= 0 {
		p.problem("%s: holds NUL", name)
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

// name reads a tenant or an app, by the same rule as the server.
func (p *dsnParser) name(what, text string) string {
	before := len(p.problems)
	name := p.decode(what, text)
	if len(p.problems) == before && !validName(name) {
		p.problem("%s: allowed: 1 to 64 of a-z, 0-9, - and _, a letter or digit first", what)
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
		p.problem("host: not with the scheme unix (unix:///path/to/socket)")
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
			p.problem("host: only an IPv6 address stands in brackets")
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
			p.problem("host: this is a secret (app:secret@host)")
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

// parameter is a row of the table of parameters: how one is read, and how String writes it, "" if it says nothing.
type parameter struct {
	name  string
	read  func(*DSN, string) bool // false if the value is not allowed
	write func(*DSN) string
	rule  string // what is allowed
}

var dsnParameters = []parameter{
	{"tenant", nil, func(d *DSN) string {
		if d.Scheme != "unix" {
			return ""
		}
		return d.Tenant
	}, ""}, // read beside the scheme, see parameters
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

// graceMax is the longest grace period, in seconds, that a server takes unless it is set otherwise.
const graceMax = 300

// lifetimeMax is the longest lifetime that a server takes.
const lifetimeMax = 10 * 365 * 24 * time.Hour

// duration is a parameter of seconds, with up to three decimals. Where 0 is allowed it is kept as NoWait.
func duration(name string, field func(*DSN) *time.Duration, least, most time.Duration) parameter {
	return parameter{name,
		func(d *DSN, v string) bool {
			ms, ok := milliseconds(v)
			if ms < least || ms > most {
				return false
			}
			if ms == 0 {
				ms = NoWait
			}
			*field(d) = ms
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

// milliseconds reads digits and up to three decimals as seconds.
func milliseconds(v string) (time.Duration, bool) {
	whole, decimals, point := strings.Cut(v, ".")
	if point && decimals == "" || len(decimals) > 3 || len(whole) > 9 {
		return 0, false
	}
	n, err := strconv.ParseUint(whole+(decimals + "000")[:3], 10, 64)
	return time.Duration(n) * time.Millisecond, err == nil && whole != ""
}

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
	seen := make(map[string]bool)
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
		case seen[name]:
			p.problem("%s: given twice", name)
			continue
		}
		seen[name] = true
		if name == "tenant" {
			if p.dsn.Scheme == "unix" {
				p.tenant(text)
			} else {
				p.problem("tenant: for the scheme unix only (host/tenant)")
			}
			continue
		}
		before := len(p.problems)
		value := p.decode(name, text)
		if len(p.problems) == before && !row.read(p.dsn, value) {
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

// unknown names a parameter only if it looks like a slip of the pen rather than a part of a secret.
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

// Addr is host:port, or the path of the socket.
func (d DSN) Addr() string {
	if d.Scheme == "unix" {
		return d.Socket
	}
	return net.JoinHostPort(d.Host, strconv.Itoa(d.Port))
}

// String writes the DSN with xxxxx for its secret.
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

// escape percent-encodes all that could mean something in any part of a DSN.
func escape(s string) string {
	return strings.NewReplacer("%2F", "/", "+", "%20").Replace(url.QueryEscape(s))
}

// GoString is String.
func (d DSN) GoString() string { return d.String() }

// LogValue is what slog sees.
func (d DSN) LogValue() slog.Value { return slog.StringValue(d.String()) }

// MarshalText is what encoders see: not fit to be read back, since the secret does not show.
func (d DSN) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Reveal writes the DSN with its secret, for a program that has made one and shows it to whom it is for.
func (d DSN) Reveal() string {
	if d.Secret.IsZero() {
		return d.String()
	}
	return strings.Replace(d.String(), ":"+concealed+"@", ":"+strings.ReplaceAll(escape(d.Secret.Reveal()), "/", "%2F")+"@", 1)
}
