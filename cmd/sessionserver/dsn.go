package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	stdio "io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"sessionserver/app"
	"sessionserver/auth"
	"sessionserver/certs"
	"sessionserver/client"
	"sessionserver/configs"
	"sessionserver/wire"
)

// address returns the address for DSNs: of the flag, or of the configuration.
func (f *tenantFolder) address(flag string) (*client.DSN, error) {
	text, wrote := flag, "--address"
	switch {
	case text != "":
	case f.dev:
		wrote = devAddress(f.Config)
		var err error
		if text, err = lastDevServer(f.Config); err != nil {
			return nil, err
		}
	case f.Config.PublicAddress != "":
		text = f.Config.PublicAddress
	default:
		text = listenerAddress(f.Config)
	}
	if text == "" {
		return nil, errors.New("the address of the server for clients is unknown: give --address " +
			"tls://sessions.example.com:9090, or set public_address in the configuration")
	}
	dsn, err := app.ParseAddress(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", wrote, err)
	}
	if ca := f.Config.TLS.LocalCA; ca != "" && dsn.Scheme == "tls" && dsn.CAFile == "" && (flag == "" || f.dev) {
		if f.dev {
			dsn.CAFile, err = devCA(f.Config)
		} else {
			dsn.CAFile, err = filepath.Abs(certs.CAFile(ca))
		}
	}
	return dsn, err
}

// makes reports whether the server creates the file ca, since it is that of its local CA. Other files in DSNs are on
// the clients' machines.
func (f *tenantFolder) makes(ca string) bool {
	if f.Config.TLS.LocalCA == "" {
		return false
	}
	own, err := filepath.Abs(certs.CAFile(f.Config.TLS.LocalCA))
	return err == nil && ca == own
}

// listenerAddress returns the address of the first listener for clients. It returns "" if that is unknown, as of a
// listener on all addresses.
func listenerAddress(cfg *configs.Config) string {
	l := cfg.Listen[0]
	if path, isUnix := strings.CutPrefix(l.Address, "unix:"); isUnix {
		return "unix://" + path
	}
	host, port, err := net.SplitHostPort(l.Address)
	ip, notIP := netip.ParseAddr(host)
	if err != nil || port == "0" {
		return ""
	}
	if names := cfg.TLS.ACME.Names; len(names) > 0 && !strings.HasPrefix(names[0], "*") {
		return "tls://" + net.JoinHostPort(names[0], port)
	}
	switch {
	case host == "" || notIP == nil && ip.IsUnspecified():
		return ""
	case cfg.TLS.Used():
		return "tls://" + net.JoinHostPort(host, port)
	case l.Plaintext == "always", l.Plaintext == "loopback" && (notIP == nil && ip.IsLoopback() || host == "localhost"):
		return "tcp://" + net.JoinHostPort(host, port)
	}
	return ""
}

// newDSN returns the DSN of an app. Without a secret it names files for a certificate, which the user has to provide.
func newDSN(address *client.DSN, id auth.Identity, secret string, certificate bool) string {
	dsn := *address
	dsn.Tenant = id.Tenant
	if secret != "" {
		dsn.App, dsn.Secret = id.App, client.NewSecret(secret)
	} else if certificate && dsn.Scheme == "tls" && dsn.CertFile == "" {
		dsn.CertFile, dsn.KeyFile = id.App+".pem", id.App+".key"
	}
	return dsn.Reveal()
}

type dsnCmd struct {
	Check dsnCheckCmd `cmd:"" help:"Connect as a client does and print each result, or what failed and what to do about it."`
}

type dsnCheckCmd struct {
	DSN     string        `arg:"" optional:"" help:"The DSN; - reads it from standard input. Default: the variable SESSIONSERVER_DSN. Unlike arguments, both are hidden from other users of the machine."`
	Timeout time.Duration `default:"30s" placeholder:"TIME" help:"Time limit for everything (default ${default})."`
}

// Run checks the DSN.
func (c *dsnCheckCmd) Run(ctx context.Context, io streams) error {
	text, err := c.text(io)
	if err == nil {
		text, err = fromFile(text)
	}
	if err != nil {
		return err
	}
	dsn, err := client.ParseDSN(text)
	if err != nil {
		return err // without the secret
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	w := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	check := &dsnCheck{dsn: dsn, row: func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, printable(fmt.Sprintf(format, args...)))
	}}
	err = check.run(ctx, text)
	if err := w.Flush(); err != nil {
		return err
	}
	var header tls.RecordHeaderError
	if refusal := check.first.refusal(); refusal != nil && errors.As(err, &header) {
		err = fmt.Errorf("in place of a TLS handshake the server replied: %w", refusal)
	}
	if err != nil {
		message := printable(strings.TrimPrefix(err.Error(), "sessionserver: "))
		return fmt.Errorf("FAILED: %s\n\n%s", message, check.advice(err))
	}
	verdict := "Everything works."
	if check.denied {
		verdict = "The way to the server and the credentials are good. The role of the app, its patterns of " +
			"keys and the policies decide what it may do."
	}
	_, err = fmt.Fprintln(io.out, verdict)
	return err
}

// text returns the DSN of the arguments.
func (c *dsnCheckCmd) text(io streams) (string, error) {
	switch c.DSN {
	case "":
		if text := os.Getenv("SESSIONSERVER_DSN"); text != "" {
			return text, nil
		}
		return "", errors.New("the DSN is missing: give it in the variable SESSIONSERVER_DSN, on standard input with " +
			"-, or as an argument")
	case "-":
		text, err := stdio.ReadAll(stdio.LimitReader(io.in, 64<<10))
		return strings.TrimSpace(string(text)), err
	}
	return c.DSN, nil
}

// fromFile reads a DSN from a file, as PHP does.
func fromFile(text string) (string, error) {
	path, named := strings.CutPrefix(text, "file://")
	if !named {
		return text, nil
	}
	text, err := app.ReadShort(path)
	return strings.TrimSpace(text), err
}

// printable returns a text of a server or a certificate with control characters replaced, for a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// dsnCheck is the state of a check.
type dsnCheck struct {
	dsn *client.DSN
	row func(name, format string, args ...any) // prints a result

	connected bool     // the TCP connection was made
	first     *opening // the first bytes received on it
	denied    bool     // the app may not do everything
	saved     bool     // the session was saved
}

// opening keeps the first bytes of a server. In place of a TLS handshake these can be a line with a refusal.
type opening struct {
	net.Conn
	received []byte
}

func (o *opening) Read(p []byte) (int, error) {
	n, err := o.Conn.Read(p)
	if room := 256 - len(o.received); room > 0 {
		o.received = append(o.received, p[:min(n, room)]...)
	}
	return n, err
}

// refusal returns the refusal that a session server sent in place of a TLS handshake, or nil.
func (o *opening) refusal() *client.Error {
	line, ended := "", false
	if o != nil {
		line, _, ended = strings.Cut(string(o.received), "\r\n")
	}
	rest, found := strings.CutPrefix(line, "err ")
	if !found || !ended {
		return nil
	}
	code, message, _ := strings.Cut(rest, " ")
	return wire.Errorf(client.Code(code), "%s", message)
}

// run prints all results until something fails.
func (c *dsnCheck) run(ctx context.Context, text string) error {
	c.row("DSN", "%s", c.dsn)
	var state *tls.ConnectionState
	start, connected := time.Now(), time.Time{}
	shook := connected
	cl, err := client.Dial(ctx, text, client.Options{
		MaxOpen: 1,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err == nil && !c.connected {
				c.connected, connected = true, time.Now()
				c.row("address", "%s, connected in %s", nc.RemoteAddr(), ms(connected.Sub(start)))
				c.first = &opening{Conn: nc}
				return c.first, nil
			}
			return nc, err
		},
		TLS: &tls.Config{VerifyConnection: func(s tls.ConnectionState) error {
			if state == nil {
				state, shook = &s, time.Now()
				c.tls(s, shook.Sub(connected))
			}
			return nil
		}},
	})
	if err != nil {
		return err
	}
	defer cl.Close()
	if state == nil {
		c.row("TLS", "none: hosts on the way can read everything")
	}
	facts, err := cl.WhoAmI(ctx)
	if err != nil {
		return err
	}
	c.facts(facts)
	if err := c.pings(ctx, cl); err != nil {
		return err
	}
	err = c.cycle(ctx, cl)
	if errors.Is(err, client.ErrDenied) {
		c.denied = true
		c.row("one session", "the trial session is not allowed to this app: %s",
			printable(strings.TrimPrefix(err.Error(), "sessionserver: ")))
		if c.saved {
			c.row("", "it is saved, cannot be taken away again, and ends within a minute")
		}
		return nil
	}
	return err
}

func (c *dsnCheck) tls(s tls.ConnectionState, took time.Duration) {
	c.row("TLS", "%s, %s, handshake in %s", tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite), ms(took))
	cert := s.PeerCertificates[0]
	c.row("certificate", "%s; issued by %s; expires %s, in %d days", certNames(cert), orElse(cert.Issuer.String(),
		"an unnamed authority"), cert.NotAfter.Format(time.DateOnly), int(time.Until(cert.NotAfter)/(24*time.Hour)))
}

func certNames(cert *x509.Certificate) string {
	names := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	return few(names)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond)) }

// facts prints the reply to whoami.
func (c *dsnCheck) facts(facts map[string]string) {
	fact := func(name string) string { return orElse(facts[name], "?") }
	limit := func(name string) string {
		if facts[name] == "0" {
			return "no limit"
		}
		return fact(name)
	}
	c.row("identity", "%s/%s, role %s, seen from %s", fact("tenant"), fact("app"), fact("role"), fact("address"))
	absolute := limit("absolute_lifetime_s")
	if absolute != "no limit" {
		absolute += " s"
	}
	c.row("sessions live", "%s s unused; at all: %s", fact("lifetime_s"), absolute)
	ids := map[string]string{
		"true":  "the server's own alone (the tenant is strict)",
		"false": "also those that clients choose (the tenant is not strict): open the id of a cookie with u",
	}
	c.row("ids", "%s", orElse(ids[facts["strict"]], "?"))
	c.row("locks", "wait %s ms, lease %s ms", fact("lock_wait_ms"), fact("lock_lease_ms"))
	c.row("a session", "%s keys, %s bytes a value, %s bytes in all", fact("max_keys"), fact("max_value"),
		fact("max_bytes"))
	c.row("the tenant", "sessions %s of %s, bytes %s of %s, connections %s of %s", fact("sessions"),
		limit("max_sessions"), fact("bytes"), limit("max_total_bytes"), fact("connections"), limit("max_connections"))
}

// pings measures round trips.
func (c *dsnCheck) pings(ctx context.Context, cl *client.Client) error {
	const count = 11
	took := make([]time.Duration, count)
	for i := range took {
		start := time.Now()
		if err := cl.Ping(ctx); err != nil {
			return err
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	c.row("round trip", "%s (the median of %d, from %s to %s)", ms(took[count/2]), count, ms(took[0]),
		ms(took[count-1]))
	return nil
}

// cycle creates a session, saves it, reads it again and destroys it.
func (c *dsnCheck) cycle(ctx context.Context, cl *client.Client) error {
	start := time.Now()
	s, err := cl.New(ctx, time.Minute) // it expires soon if the check ends here
	if err != nil {
		return err
	}
	defer func() { s.Abort(ctx) }()
	id := s.ID()
	if err := s.Put(ctx, "dsn_check", "works"); err != nil {
		return err
	}
	if err := s.Close(ctx); err != nil {
		return err
	}
	c.saved = true
	if s, err = cl.Open(ctx, id, client.OpenOptions{Mode: client.ModeUpdate}); err != nil {
		s = new(client.Session)
		return err
	}
	value, _, unread := s.Get(ctx, "dsn_check")
	err = s.Destroy(ctx) // also if the app may write the key and not read it
	c.saved = err != nil
	if unread != nil {
		return unread
	}
	if err != nil {
		return err
	}
	if value != "works" {
		return fmt.Errorf("a session was saved and has the value %q now", value)
	}
	c.row("one session", "new, put, close, open, get, destroy in %s", ms(time.Since(start)))
	return nil
}

// advice returns what to do about an error.
func (c *dsnCheck) advice(err error) string {
	var refusal *client.Error
	if errors.As(err, &refusal) {
		if text := refusals[refusal.Code]; text != "" {
			return text
		}
		return "The server refused it for the reason in its message."
	}
	var other *client.TenantError
	if errors.As(err, &other) {
		return fmt.Sprintf("The certificate is that of %s: to use that app, name its tenant in the DSN; otherwise "+
			"give the certificate of an app of tenant %s in certfile and keyfile, or let this one be such an app: "+
			"sessionserver app create %s/APP --certificate NAME.", printable(other.Identity), other.Tenant,
			other.Tenant)
	}
	var (
		dns      *net.DNSError
		cert     *tls.CertificateVerificationError
		alert    *net.OpError
		header   tls.RecordHeaderError
		hostname x509.HostnameError
		unknown  x509.UnknownAuthorityError
		invalid  x509.CertificateInvalidError
	)
	addr := c.dsn.Addr()
	switch {
	case errors.As(err, &dns):
		return fmt.Sprintf("No address is known for %s: see whether the name is spelled correctly and in the DNS.",
			c.dsn.Host)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("Nothing listens at %s: see whether the server runs, listens on that port, and on an "+
			"address that other machines reach (listen[].address).", addr)
	case errors.Is(err, fs.ErrNotExist) && c.dsn.Scheme == "unix":
		return fmt.Sprintf("Socket %s not found: see whether the server runs and listens there (listen[].address: "+
			"unix:%s).", addr, addr)
	case errors.Is(err, fs.ErrPermission):
		return "This user may not use the file or socket: see its owner and mode; a server's socket is for its group."
	case errors.Is(err, fs.ErrNotExist):
		return "A file that the DSN names does not exist: see cafile, certfile and keyfile."
	case !c.connected && (strings.Contains(err.Error(), "certfile") || strings.Contains(err.Error(), "keyfile") ||
		strings.Contains(err.Error(), "cafile")):
		return "A file that the DSN names cannot be used: see cafile, certfile and keyfile."
	case errors.As(err, &hostname):
		return fmt.Sprintf("The certificate of the server is for %s, not for %s: use one of those names in the DSN, "+
			"or give the server a certificate for this one.", printable(certNames(hostname.Certificate)), c.dsn.Host)
	case errors.As(err, &unknown):
		return fmt.Sprintf("The server certificate is signed by an unknown authority (issued by %s). If that "+
			"authority is your own, name the file of its root in the DSN: ?cafile=/path/to/ca.pem; a server with "+
			"local_ca has it there as ca.pem.", printable(issuer(err, unknown)))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "The certificate is not valid at this time: renew it (the server's log has the reason why it was " +
			"not), or set the clock of this machine."
	case errors.As(err, &cert):
		return "The certificate of the server cannot be trusted as it is."
	case errors.As(err, &header):
		return fmt.Sprintf("The server at %s does not speak TLS: see whether host and port are right, and whether "+
			"the configuration of the server has certificates, acme or local_ca under tls.", addr)
	case errors.As(err, &alert) && alert.Op == "remote error": // the form of alerts in crypto/tls
		return c.alert(alert.Err.Error())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		if !c.connected {
			return fmt.Sprintf("No reply from %s: see whether a firewall is in between, and whether host and port "+
				"are right.", addr)
		}
		return "The server accepted the connection and sent no reply in time: see its log, and whether this is a " +
			"session server. With proxies set it waits for a PROXY header."
	case c.connected && c.dsn.Scheme == "tls":
		return "The server closed the connection before the TLS handshake was over: its log has the reason. It may " +
			"not serve TLS (see tls in its configuration), not allow this address (allow and deny), or expect a " +
			"PROXY header from it (listen[].proxies); a balancer in between may have found no server behind it, or " +
			"send a PROXY header that the server does not expect."
	case c.connected:
		return "The server closed the connection: its log has the reason. The program there may not be a " +
			"session server, or expect a PROXY header (listen[].proxies) or TLS (tls:// instead of tcp://)."
	}
	return fmt.Sprintf("%s was not reached.", addr)
}

// alert returns what to do about an alert of the server during the TLS handshake, as crypto/tls names it.
func (c *dsnCheck) alert(text string) string {
	is := func(names ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.Contains(text, name) })
	}
	switch {
	case is("internal error"):
		return fmt.Sprintf("The server has no certificate for %s at this moment, most likely. With ACME (tls.acme) "+
			"it is obtained once the server runs, within a minute: try again. "+
			"If it takes longer, the log of the server has the reply of the authority; port 443 of the name must "+
			"lead to the server, unless http_address or dns_program is set.", c.dsn.Host)
	case is("unrecognized name"):
		return fmt.Sprintf("The server has no certificate for %s: use a name in the DSN that it has one for, or add "+
			"this one under tls in its configuration.", c.dsn.Host)
	case is("certificate required", "bad certificate", "unknown certificate authority", "expired certificate",
		"unsupported certificate", "unknown certificate", "revoked certificate"):
		return "The listener requires a client certificate (client_certificates: required), and the DSN has none " +
			"that it takes: certfile and keyfile must name one " +
			"that is valid now and signed by an authority of its client_ca."
	case is("no application protocol"):
		return fmt.Sprintf("The server at %s speaks TLS and not the session protocol: see whether host and port "+
			"are right. A balancer in between must pass TLS through, or not offer protocols of its own (ALPN).",
			c.dsn.Addr())
	case is("protocol version"):
		return "The server and this program have no version of TLS in common: the server needs 1.2 or 1.3."
	}
	return "The server broke off the TLS handshake: its log has the reason. If the listener requires client " +
		"certificates (client_certificates: required), the DSN needs certfile and keyfile of one that an authority " +
		"of its client_ca signed."
}

// issuer returns the name of the authority that issued the untrusted certificate.
func issuer(err error, unknown x509.UnknownAuthorityError) string {
	cert := unknown.Cert
	var failed *tls.CertificateVerificationError
	if errors.As(err, &failed) && len(failed.UnverifiedCertificates) > 0 {
		cert = failed.UnverifiedCertificates[0]
	}
	if cert == nil {
		return "?"
	}
	return orElse(cert.Issuer.String(), "an unnamed authority")
}

// refusals are what to do about each code that a server may reply here.
var refusals = map[client.Code]string{
	wire.BadAuth: "Tenant, app or secret are wrong; the server does not report which. See `sessionserver app list " +
		"TENANT`; `app rotate TENANT/APP` makes a new DSN. If they are correct, the app may be revoked, or its " +
		"tenant's file may have a mistake: see the server's log.",
	wire.NoAuth: "The server requires authentication: put app and secret into the DSN, " +
		"tls://app:secret@host:9090/tenant, or a certificate, which must be one that an app of the tenant names.",
	wire.IPDenied: "This machine's address is not allowed: add it to allow of the listener, of the tenant or of the " +
		"app (and see deny). Behind a balancer the server sees the balancer's address, unless listen[].proxies names " +
		"it.",
	wire.TLSRequired: "The listener accepts no plaintext from here: begin the DSN with tls:// instead of tcp://.",
	wire.Quota:       "The tenant has used up a quota: raise quotas in its file, or wait until sessions have expired.",
	wire.RateLimited: "Too many requests in a short time: wait for the time in the message, or raise rates in the " +
		"tenant's file. After many failures to authenticate, an address waits longer.",
	wire.Protocol: "The server did not understand the first bytes. If it expects a PROXY header from this address, " +
		"which is then one of listen[].proxies, connect through the balancer, or take the address out of proxies; if " +
		"a balancer in between sends such a header, the server must have that balancer's address under proxies.",
	wire.Denied:      "The policy denies this to the app.",
	wire.Unavailable: "The server has no room or no storage at the moment: see its log and try again.",
	wire.Shutdown:    "The server is stopping: try again when it runs.",
	wire.LockTimeout: "The session that was just created is locked by another client, which should not happen: see " +
		"the server's log.",
	wire.Unknown:  "This server is older than this program, or is another one.",
	wire.Internal: "Something went wrong in the server: its log has the id that the message names.",
}
