package php_test

import (
	"os/exec"
	"testing"

	"sessionserver/auth"
	"sessionserver/server"
	"sessionserver/server/servertest"
)

// TestPersistentIdentity has apps come one after the other over one persistent stream, whose name does not tell their secrets apart. Each is
// who its own secret says; one whose secret is wrong is nobody, although the stream was good for the one before.
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
		function request(string $secret, array ...$requests): array { // as the end of a request does, it keeps the stream
			global $argv;
			$client = new SessionServer\Client("tcp://shop:$secret@$argv[2]/acme?persistent=1");
			return array_map(fn ($reply) => $reply->errorCode ?? $reply, $client->pipeline($requests));
		}
		function say(mixed $word): void { echo is_string($word) ? $word : json_encode($word), " "; }

		[, , , $good, $wrong] = $argv;
		[$first, $id] = request($good, ["client", "id"], ["new"], ["put", "a", "1"], ["close"]);
		[$second, , $value] = request($good, ["client", "id"], ["open", $id, "s"], ["get", "a"], ["close"]);
		say($second === $first);
		say($value);
		say(request($good, ["reset"], ["open", $id, "s"])[1]); // and nothing behind the reset
		try {
			request($wrong, ["open", $id, "s"]);
		} catch (SessionServer\Exception\ServerException $e) {
			say($e->errorCode);
		}
		say(request($good, ["client", "id"])[0] === $first); // the stream of the one who was refused is not kept
	`
	out, err := exec.Command(php, "-d", "display_errors=stderr", "-r", script, "autoload.php", srv.Addr, good, wrong).Output()
	if want := "true 1 NOAUTH BADAUTH false "; err != nil || string(out) != want {
		t.Fatalf("%v, got %q, want %q", err, out, want)
	}
}
