package php_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTenantOverTLS follows the README for hosting: it creates a tenant and an app, uses the app's DSN over TLS in PHP,
// rotates the secret and revokes the first one. Then it restricts the rights of apps.
func TestTenantOverTLS(t *testing.T) {
	t.Parallel()
	php := program(t, "php")
	dir := t.TempDir()
	tenants := filepath.Join(dir, "tenants.d")
	if err := os.Mkdir(tenants, 0o700); err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, fmt.Sprintf("tenants: %q\ntls: {local_ca: %q}\n", tenants, filepath.Join(dir, "ca")))
	cli := func(words ...string) string {
		t.Helper()
		binary, err := build()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(binary, append(words, "--config", d.config)...)
		cmd.Stderr = t.Output()
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", words, err)
		}
		return strings.TrimSpace(string(out))
	}
	const script = `
		require $argv[1];
		ini_set('session.use_cookies', '0');
		SessionServer\SaveHandler::register($argv[2]);
		session_id($argv[3]);
		try {
			session_start();
			$_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
			session_write_close();
			echo session_id(), ' ', $_SESSION['visits'];
		} catch (SessionServer\Exception\ServerException $e) {
			echo $e->errorCode;
		} catch (SessionServer\Exception\ConnectionException) {
			echo 'closed'; // the revocation of a secret closes its connections, also during a request
		}
	`
	visit := func(dsn, id string) string {
		t.Helper()
		cmd := exec.Command(php, "-d", "display_errors=stderr", "-r", script, "autoload.php", dsn+"&persistent=1", id)
		cmd.Stderr = t.Output()
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	// eventually waits until the server has loaded the change of the command line.
	eventually := func(dsn, id, want string) {
		t.Helper()
		got := ""
		for deadline := time.Now().Add(timeLimit); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if got = visit(dsn, id); strings.HasSuffix(got, want) {
				return
			}
		}
		t.Fatalf("got %q, want %q", got, want)
	}

	cli("tenant", "create", "acme")
	first := cli("app", "create", "acme/shop")
	if !strings.HasPrefix(first, "tls://shop:hss_") {
		t.Fatalf("the DSN is %.20q…", first)
	}
	eventually(first, "", " 1")
	id, _, _ := strings.Cut(visit(first, ""), " ")
	second := cli("app", "rotate", "acme/shop")
	eventually(second, id, id+" 2")
	if got := visit(first, id); got != id+" 3" {
		t.Errorf("older secret: %q", got)
	}
	cli("app", "revoke", "acme/shop", "--oldest")
	eventually(first, id, "BADAUTH")
	if got := visit(second, id); !strings.HasPrefix(got, id+" ") {
		t.Errorf("newer secret: %q", got)
	}

	// An app that may write only some keys. With format=php all of $_SESSION is the key php.
	visits := cli("app", "create", "acme/visits", "--write", "visits")
	eventually(visits, "", "DENIED")
	if got := visit(visits+"&format=json", ""); !strings.HasSuffix(got, " 1") {
		t.Errorf("an app that may write visits: %q", got)
	}
	whole := cli("app", "create", "acme/whole", "--write", "php", "--write", "php.*")
	eventually(whole, "", " 1")
	if got := visit(whole+"&format=json", ""); got != "DENIED" {
		t.Errorf("an app that may write php, with format=json: %q", got)
	}

	// A read-only app, which loses the changes of the page.
	reads := cli("app", "create", "acme/reads", "--role", "readonly")
	id, _, _ = strings.Cut(visit(second, ""), " ")
	eventually(reads+"&mode=r", id, id+" 2")
	if got := visit(reads+"&mode=r", id); got != id+" 2" {
		t.Errorf("a read-only app: %q", got)
	}
	if got := visit(reads, id); got != "DENIED" {
		t.Errorf("a read-only app without mode=r: %q", got)
	}
}
