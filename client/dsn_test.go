package client_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"sessionserver/auth"
	"sessionserver/client"
)

func TestParseDSN(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in, out string
		check   func(*client.DSN) bool
	}{
		{"tls://shop:hss_1@sessions.example.com:9091/acme?lock_timeout=10&on_lock_timeout=readonly&format=json",
			"tls://shop:xxxxx@sessions.example.com:9091/acme?lock_timeout=10&on_lock_timeout=readonly&format=json",
			func(d *client.DSN) bool {
				return d.Host == "sessions.example.com" && d.Port == 9091 && d.App == "shop" &&
					d.Secret.Reveal() == "hss_1" && d.Tenant == "acme" && d.LockTimeout == 10*time.Second &&
					d.OnLockTimeout == "readonly" && d.Format == "json"
			}},
		{"tcp://localhost", "tcp://localhost:9090",
			func(d *client.DSN) bool { return d.Port == 9090 && d.Secret.IsZero() }},
		{"tcp://localhost/", "tcp://localhost:9090", nil},
		{"localhost:9190", "tcp://localhost:9190", func(d *client.DSN) bool { return d.Scheme == "tcp" }},
		{"127.0.0.1", "tcp://127.0.0.1:9090", nil},
		{"[::1]:9190", "tcp://[::1]:9190",
			func(d *client.DSN) bool { return d.Host == "::1" && d.Addr() == "[::1]:9190" }},
		{"tls://a:s@[2001:DB8:0::1]/t", "tls://a:xxxxx@[2001:db8::1]:9090/t", nil},
		{"tcp://[fe80::1%25eth0]:1", "tcp://[fe80::1%25eth0]:1",
			func(d *client.DSN) bool { return d.Host == "fe80::1%eth0" }},
		{"tls://a:p%40ss%2Fw%3Ard%25:@h/t", "tls://a:xxxxx@h:9090/t",
			func(d *client.DSN) bool { return d.Secret.Reveal() == "p@ss/w:rd%:" }},
		{"unix:///run/s.sock", "unix:///run/s.sock",
			func(d *client.DSN) bool { return d.Addr() == "/run/s.sock" && d.Port == 0 }},
		{"unix://shop:s@/run/a%20b%3F.sock?tenant=acme&timeout=0.5",
			"unix://shop:xxxxx@/run/a%20b%3F.sock?tenant=acme&timeout=0.5",
			func(d *client.DSN) bool {
				return d.Socket == "/run/a b?.sock" && d.Tenant == "acme" && d.Timeout == 500*time.Millisecond
			}},
		{"tls://h/acme?certfile=/c%2Bd.pem&keyfile=k.pem&cafile=ca.pem",
			"tls://h:9090/acme?cafile=ca.pem&certfile=/c%2Bd.pem&keyfile=k.pem",
			func(d *client.DSN) bool {
				return d.CertFile == "/c+d.pem" && d.KeyFile == "k.pem" && d.CAFile == "ca.pem" && d.Tenant == "acme"
			}},
		{"tcp://h?lock_timeout=0", "tcp://h:9090?lock_timeout=0",
			func(d *client.DSN) bool { return d.LockTimeout == client.NoWait }},
		{"tcp://h?lock_timeout=1.250&mode=r&lifetime=3600&persistent=1&format=php&on_lock_timeout=fail",
			"tcp://h:9090?lock_timeout=1.25&on_lock_timeout=fail&mode=r&lifetime=3600&format=php&persistent=1",
			func(d *client.DSN) bool {
				return d.LockTimeout == 1250*time.Millisecond && d.Mode == "r" &&
					d.Lifetime == time.Hour && d.Persistent
			}},
		{"tcp://h?grace=0", "tcp://h:9090?grace=0", func(d *client.DSN) bool { return d.Grace == "0" }},
		{"\ufefftls://a:s@h/t", "tls://a:xxxxx@h:9090/t", nil},
		{"\"tls://a:s@h/t\"\r\n", "tls://a:xxxxx@h:9090/t", nil},
		{`"tls://a:s@h/t"`, "tls://a:xxxxx@h:9090/t", nil},
		{"\ufeff'tls://a:s\"@h/t'", "tls://a:xxxxx@h:9090/t",
			func(d *client.DSN) bool { return d.Secret.Reveal() == `s"` }},
		{"tcp://h?persistent=0&", "tcp://h:9090", func(d *client.DSN) bool { return !d.Persistent }},
	} {
		d, err := client.ParseDSN(tt.in)
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if d.String() != tt.out {
			t.Errorf("String of %s\nis   %s\nwant %s", tt.in, d, tt.out)
		}
		if tt.check != nil && !tt.check(d) {
			t.Errorf("%s: wrong fields: %s", tt.in, d)
		}
	}
}

func TestParseDSNProblems(t *testing.T) {
	t.Parallel()
	const unexpectedAt = "unexpected @ after the host (percent-encode / ? # and @ in the secret and in parameters)"
	const parameters = "timeout, lock_timeout, on_lock_timeout, mode, lifetime, " +
		"format, persistent, grace, cafile, certfile, keyfile"
	for _, tt := range []struct{ in, want string }{
		{"", "host: missing"},
		{"tls://", "host: missing"},
		{"tls://a:hss_S3@/t", "host: missing"},
		{`"tls://a:hss_S3@h/t`, "opening quote without a closing one (remove it)"},
		{"\xff\xfet\x00l\x00s\x00", "the text is UTF-16 (save it as UTF-8)"},
		{"redis://a:hss_S3@h/t", "scheme: unknown (allowed: tls, tcp, unix)"},
		{"hss_S3://a@h/t", "scheme: unknown (allowed: tls, tcp, unix); secret: missing (app:secret@host)"},
		{"redis://a:hss_S3@h:0/t?mode=q&cafile=c",
			"scheme: unknown (allowed: tls, tcp, unix); port: allowed: 1 to 65535; mode: allowed: rw, r"},
		{"a:hss_S3@h/t", "scheme: missing (allowed: tls://, tcp://, unix://, or host:port alone)"},
		{"hss_S3", "host: looks like a secret (app:secret@host)"},
		{"tls://a:hss_S3", "port: allowed: 1 to 65535"},
		{"tls://a:hss_S3@h:0/t", "port: allowed: 1 to 65535"},
		{"tls://a:hss_S3@h:/t", "port: allowed: 1 to 65535"},
		{"tls://a:hss_S3@h:65536/t", "port: allowed: 1 to 65535"},
		{"tls://a:hss_S3@::1/t",
			"host: more than one colon (write an IPv6 address in brackets, and app:secret before an @)"},
		{"tls://a:hss_S3@[::1/t", "host: malformed ([IPv6]:port)"},
		{"tls://a:hss_S3@[127.0.0.1]/t", "host: not an IPv6 address in brackets ([IPv6]:port)"},
		{"tls://a:hss_S3@h_ö/t",
			"host: allowed: a name of a-z, 0-9, - _ and ., an IPv4 address, or an IPv6 address in brackets"},
		{"tls://a:hss/S3@h/t", unexpectedAt},
		{"tls://a:hss?S3@h/t", unexpectedAt},
		{"tls://a:hss#S3@h/t", unexpectedAt},
		{"tls://a:hss_S3@h/t#x", "unexpected # (percent-encode it as %23)"},
		{"tls://a:hss_S3@h/t\n", "byte 19: space, line end or control character (percent-encode or remove it)"},
		{"tls://a:hss_S3%zz@h/t", "secret: invalid percent-encoding (write %25 for a percent sign)"},
		{"tls://a:hss_S3%00@h/t", "secret: NUL byte not allowed"},
		{"tls://a@h/t", "secret: missing (app:secret@host)"},
		{"tls://a:hss_S3@h", "tenant: missing, required with an app and a secret (host/tenant)"},
		{"unix://a:hss_S3@/run/s", "tenant: missing, required with an app and a secret (?tenant=name)"},
		{"tls://h/t",
			"tenant: allowed only with credentials (app:secret@ before the host, or certfile)"},
		{"tls://a:hss_S3@h/T%2Fx", "tenant: allowed: 1 to 64 of a-z, 0-9, - and _, a letter or digit first"},
		{"tls://:hss_S3@h/t", "app: allowed: 1 to 64 of a-z, 0-9, - and _, a letter or digit first"},
		{"tls://a:hss_S3@h/t?tenant=t", "tenant: allowed as a parameter only with the scheme unix (host/tenant)"},
		{"unix://h/run/s", "host: not allowed with the scheme unix (unix:///path/to/socket)"},
		{"unix://", "socket: missing (unix:///path/to/socket)"},
		{"tcp://h?timeout=0", "timeout: allowed: 0.001 to 3600 seconds, with up to three decimals"},
		{"tcp://h?timeout=", "timeout: allowed: 0.001 to 3600 seconds, with up to three decimals"},
		{"tcp://h?timeout=1.", "timeout: allowed: 0.001 to 3600 seconds, with up to three decimals"},
		{"tcp://h?lock_timeout=-1", "lock_timeout: allowed: 0 to 600 seconds, with up to three decimals"},
		{"tcp://h?lock_timeout=10s", "lock_timeout: allowed: 0 to 600 seconds, with up to three decimals"},
		{"tcp://h?lock_timeout=601", "lock_timeout: allowed: 0 to 600 seconds, with up to three decimals"},
		{"tcp://h?on_lock_timeout=wait", "on_lock_timeout: allowed: fail, readonly"},
		{"tcp://h?mode=w", "mode: allowed: rw, r"},
		{"tcp://h?lifetime=0", "lifetime: allowed: 1 to 315360000, whole seconds"},
		{"tcp://h?grace=301", "grace: allowed: 0 to 300, whole seconds"},
		{"tcp://h?format=xml", "format: allowed: php, json"},
		{"tcp://h?persistent=yes", "persistent: allowed: 0, 1"},
		{"tls://h?cafile=", "cafile: allowed: the path of a PEM file"},
		{"tls://h?certfile=c", "certfile, keyfile: set both or neither"},
		{"tcp://h?cafile=c", "cafile, certfile, keyfile: allowed only with the scheme tls"},
		{"tcp://h?mode=r&mode=r", "mode: duplicate"},
		{"tcp://h?locktimeout=1", "unknown parameter locktimeout (allowed: " + parameters + ")"},
		{"unix:///s?hss_S3=1", "unknown parameter (allowed: tenant, " + parameters + ")"},
		{"tcp://A:hss_S3@h:x/T?mode=q&timeout=q",
			"app: allowed: 1 to 64 of a-z, 0-9, - and _, a letter or digit first; " +
				"port: allowed: 1 to 65535; tenant: allowed: 1 to 64 of a-z, 0-9, - and _, a letter or digit first; " +
				"mode: allowed: rw, r; timeout: allowed: 0.001 to 3600 seconds, with up to three decimals"},
	} {
		_, err := client.ParseDSN(tt.in)
		var dsnError *client.DSNError
		if !errors.As(err, &dsnError) {
			t.Errorf("%q: error %v, want a *DSNError", tt.in, err)
			continue
		}
		if got := strings.TrimPrefix(err.Error(), "sessionserver: DSN: "); got != tt.want {
			t.Errorf("%q\nerror %s\nwant  %s", tt.in, got, tt.want)
		}
	}
}

// TestNameRule verifies that client and server have the same rule for the names of tenants and apps.
func TestNameRule(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"a", "0", "a-b_c", "-a", "_a", "A", "", "a.b", "ä", strings.Repeat("a", 64), strings.Repeat("a", 65),
	} {
		_, serverErr := auth.ParseIdentity(name + "/app")
		_, clientErr := client.ParseDSN("tcp://app:s@h/" + name)
		if (serverErr == nil) != (clientErr == nil) {
			t.Errorf("%q: server error %v, client error %v", name, serverErr, clientErr)
		}
	}
}

func TestSecretsAreConcealed(t *testing.T) {
	t.Parallel()
	const secret = "hss_S3cr3t"
	d, err := client.ParseDSN("tls://shop:" + secret + "@h/acme")
	if err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	show := func(v any) {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%T"} {
			fmt.Fprintf(&output, verb+"\n", v)
		}
		for _, h := range []slog.Handler{slog.NewTextHandler(&output, nil), slog.NewJSONHandler(&output, nil)} {
			slog.New(h).Info("value", "v", v)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		output.Write(b)
	}
	type nested struct {
		Exported client.DSN
		hidden   client.DSN
		pointer  *client.DSN
		secret   client.Secret
	}
	show(d)
	show(*d)
	show(d.Secret)
	show(&d.Secret)
	show(nested{*d, *d, d, d.Secret})
	show(&nested{*d, *d, d, d.Secret})
	show([]any{*d, d, map[string]client.Secret{"k": d.Secret}})
	_, err = client.Dial(t.Context(), "tls://shop:"+secret+"@127.0.0.1:1/acme", client.Options{})
	show(err)
	for _, text := range []string{"tls://shop:xxxxx@h:9090/acme", `v=tls://shop:xxxxx@h:9090/acme`, `"v":"xxxxx"`} {
		if !strings.Contains(output.String(), text) {
			t.Errorf("%s is missing in:\n%s", text, output.String())
		}
	}
	for _, verb := range []string{"%s", "%x", "%X", "%d"} {
		form := fmt.Sprintf(verb, []byte(secret))
		if strings.Contains(output.String(), form) {
			t.Errorf("the secret is visible in:\n%s", output.String())
		}
	}
	if d.Secret.Reveal() != secret || client.NewSecret("").String() != "" {
		t.Error("Reveal does not return the secret")
	}
}

func FuzzParseDSN(f *testing.F) {
	for _, seed := range [][2]string{
		{"tls://shop:", "@sessions.example.com:9090/acme?lock_timeout=10&on_lock_timeout=readonly&format=json"},
		{"tls://shop:", ""}, {"tls://shop:x/", "@h/t"}, {"tls://", ":x@h/t"}, {"", "@h"}, {"tcp://h/?", "=1"},
		{"tcp://h/?mode=", ""},
		{"unix://a:", "@/run/s.sock?tenant=t&timeout=1.5"}, {"tcp://[fe80::1%25", "]:1"},
		{"tcp://a:%4", "@h/t"}, {"tls://a:", "@h:%zz/t"},
		{"tls://a:x@", "/t"}, {"tls://a:x@[::1]:", "/t?cafile=a%20b"}, {"tls://a:", "://b@h/t"},
	} {
		f.Add(seed[0], seed[1])
	}
	const secret = "hss_S3CR3T"
	f.Fuzz(func(t *testing.T, before, after string) {
		d, err := client.ParseDSN(before + secret + after)
		if err != nil {
			if strings.Contains(err.Error(), "S3CR3T") {
				t.Errorf("the error contains the secret: %v", err)
			}
			return
		}
		printed := fmt.Sprintf("%v %+v %#v", d, d, *d)
		elsewhere := strings.Contains(before+after, "S3CR3T") // in a part that is not the secret
		if strings.Contains(d.Secret.Reveal(), secret) && strings.Contains(printed, "S3CR3T") && !elsewhere {
			t.Errorf("the secret is visible: %s", printed)
		}
		again, err := client.ParseDSN(d.String())
		if err != nil {
			t.Fatalf("%s cannot be parsed again: %v", d, err)
		}
		if again.String() != d.String() {
			t.Errorf("%s is parsed again as %s", d, again)
		}
	})
}
