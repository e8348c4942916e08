package auth

import "testing"

// BenchmarkSecret measures Directory.Secret for each kind of invalid credentials. The results may differ by
// nanoseconds, as a failed lookup is shorter, but not by the time of a hash. Otherwise a client could learn from
// them which names exist.
func BenchmarkSecret(b *testing.B) {
	d, err := NewDirectory([]Tenant{{Name: "acme", Apps: []App{
		{Name: "shop00", Role: ReadWrite, Secrets: []SecretHash{HashSecret(NewSecret()), HashSecret(NewSecret())}},
		{Name: "single", Role: ReadWrite, Secrets: []SecretHash{HashSecret(NewSecret())}},
		{Name: "empty0", Role: ReadWrite},
	}}})
	if err != nil {
		b.Fatal(err)
	}
	secret := NewSecret()
	for kind, name := range map[string]string{
		"two secrets": "acme/shop00", "one secret": "acme/single", "no secret": "acme/empty0",
		"no such app": "acme/absent", "no such tenant": "none/shop00",
		"capitals": "ACME/shop00", "no slash": "acme-shop00", "dots": "../c/shop00",
	} {
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				if _, err := d.Secret(name, secret); err != ErrBadCredentials {
					b.Fatal(err)
				}
			}
		})
	}
}
