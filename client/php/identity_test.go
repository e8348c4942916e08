package php_test

import (
	"os/exec"
	"testing"

	"sessionserver/auth"
	"sessionserver/server"
	"sessionserver/server/servertest"
)

// TestPersistentIdentity verifies that DSNs with different secrets, which share a persistent stream, keep their own
// identities. A wrong secret has no identity, although the stream was authenticated before.
func TestPersistentIdentity(t *testing.T) {
	t.Parallel()
	php := program(t, "php")
	good, wrong := auth.NewSecret(), auth.NewSecret()
	srv := servertest.Start(t, servertest.Config{
		Tenants: []server.Tenant{servertest.Tenant("acme/shop", good)},
		Listen:  server.Listen{Name: "test", Allow: servertest.Loopback},
	})
	const script = `
		require $argv[1];
		function request(string $secret, array ...$requests): array { // keeps the stream like the end of a request
			global $argv;
			$client = new SessionServer\Client("tcp://shop:$secret@$argv[2]/acme?persistent=1");
			return array_map(fn ($reply) => $reply->errorCode ?? $reply, $client->pipeline($requests));
		}
		function show(mixed $value): void { echo is_string($value) ? $value : json_encode($value), " "; }

		[, , , $good, $wrong] = $argv;
		[$first, $id] = request($good, ["client", "id"], ["new"], ["put", "a", "1"], ["close"]);
		[$second, , $value] = request($good, ["client", "id"], ["open", $id, "s"], ["get", "a"], ["close"]);
		show($second === $first);
		show($value);
		show(request($good, ["reset"], ["open", $id, "s"])[1]); // a reset ends the identity
		try {
			request($wrong, ["open", $id, "s"]);
		} catch (SessionServer\Exception\ServerException $e) {
			show($e->errorCode);
		}
		show(request($good, ["client", "id"])[0] === $first); // a refused stream is not kept
	`
	cmd := exec.Command(php, "-d", "display_errors=stderr", "-r", script, "autoload.php", srv.Addr, good, wrong)
	out, err := cmd.Output()
	if want := "true 1 NOAUTH BADAUTH false "; err != nil || string(out) != want {
		t.Fatalf("%v, got %q, want %q", err, out, want)
	}
}
