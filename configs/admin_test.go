package configs

import (
	"strings"
	"testing"
)

// TestAdmin checks that an operators' address beyond the loopback needs authentication and TLS.
func TestAdmin(t *testing.T) {
	const tls = "tls: {local_ca: /x}\n"
	for _, row := range []struct{ text, wrong string }{
		{"admin: {address: ''}", ""},
		{"admin: {address: '127.0.0.1:9180'}", ""}, {"admin: {address: '127.9.9.9:9180'}", ""},
		{"admin: {address: '[::1]:9180'}", ""},
		{"admin: {address: 'localhost:9180'}", ""}, {"admin: {address: 'unix:/run/admin'}", ""},
		{"admin: {address: '[::ffff:127.0.0.1]:9180'}", ""},
		{"admin: {address: 'unix:admin'}", "admin.address"}, {"admin: {address: nowhere}", "admin.address"},
		{"admin: {address: ':9180'}", "not a loopback address"},
		{"admin: {address: '0.0.0.0:9180'}", "not a loopback address"},
		{"admin: {address: '[::]:9180'}", "not a loopback address"},
		{"admin: {address: '10.0.0.1:9180'}", "not a loopback address"},
		{"admin: {address: 'localhost.example:9180'}", "not a loopback address"},
		{tls + "admin: {address: ':9180'}", "every client could read"},
		{"admin: {address: ':9180', token_file: /t}", "traffic without TLS can be read"},
		{"admin: {address: ':9180', client_ca: /c}", "traffic without TLS can be read"},
		{"admin: {address: ':9180', token_file: /t, certificate: /c, key: /k}", ""},
		{tls + "admin: {address: ':9180', token_file: /t}", ""},
		{tls + "admin: {address: ':9180', client_ca: /c}", ""},
		{tls + "admin: {address: ':9180', client_ca: /c, token_file: /t}", ""},
		{"admin: {address: '127.0.0.1:9180', token_file: /t}", ""},
		{"admin: {address: '127.0.0.1:9180', client_ca: /c}", "admin.client_ca"},
		{tls + "admin: {address: '127.0.0.1:9180', client_ca: /c}", ""},
		{"admin: {address: '127.0.0.1:9180', certificate: /c}", "belong together"},
		{"admin: {address: '127.0.0.1:9180', key: /k}", "belong together"},
		{"admin: {address: '127.0.0.1:9090'}", "is the address of listener main"},
	} {
		_, err := Parse("f", []byte(row.text+"\n"))
		if row.wrong == "" && err != nil || row.wrong != "" &&
			(err == nil || !strings.Contains(err.Error(), row.wrong)) {
			t.Errorf("%s: %v, want %q", row.text, err, row.wrong)
		}
	}
	for text, want := range map[string]bool{
		"127.0.0.1:1": false, "unix:/x": false, ":1": true, "": false,
	} {
		if got := (Admin{Address: text}).UsesTLS(); got != want {
			t.Errorf("%q uses TLS: %v", text, got)
		}
	}
	if !(Admin{Address: "127.0.0.1:1", Certificate: "x"}).UsesTLS() ||
		!(Admin{Address: "unix:/x", ClientCA: "x"}).UsesTLS() {
		t.Error("an address with a certificate or a client CA does not use TLS")
	}
}
