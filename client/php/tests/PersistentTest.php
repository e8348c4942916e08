<?php

declare(strict_types=1);

namespace SessionServer\Tests;

/**
 * Streams that outlive the request in which they were opened.
 */
final class PersistentTest extends SessionTestCase
{
    private const COUNT = 'session_start(); $_SESSION["n"] = ($_SESSION["n"] ?? 0) + 1; session_write_close();
        return [session_id(), $_SESSION["n"]];';

    /** PHP code that creates a save handler without its shutdown function. */
    private const HANDLER = 'session_set_save_handler(
        new SessionServer\SaveHandler(SessionServer\Dsn::load(ini_get("session.save_path"))), false);';

    /** PHP code that creates a client. */
    private const CLIENT = 'new SessionServer\Client(SessionServer\Dsn::load(ini_get("session.save_path")))';

    /** @return array<array{string}> */
    public function schemes(): array
    {
        return ['tcp' => ['tcp'], 'unix' => ['unix']];
    }

    private function web(string $scheme): WebServer
    {
        $query = 'persistent=1';
        return new WebServer($scheme === 'unix' ? self::$server->unixDsn($query) : self::$server->dsn($query));
    }

    /**
     * A request that dies before this library can clean up leaves its session open on the stream. The next request on
     * the stream can neither read nor change that session, whatever it does first.
     *
     * @dataProvider schemes
     */
    public function testSessionOfDeadRequestIsInaccessible(string $scheme): void
    {
        $web = $this->web($scheme);
        [$alice] = $web->evaluate(self::COUNT);
        [$bob] = $web->evaluate(self::COUNT);
        $client = self::CLIENT;
        $handler = 'new SessionServer\\SaveHandler(SessionServer\\Dsn::load(ini_get("session.save_path")))';
        foreach ([
            "try { return ($client)->getAll(); }
                catch (SessionServer\\Exception\\NoSessionException) { return 'none'; }" => 'none',
            "\$replies = ($client)->pipeline([['open', '$bob', 'rw', '0'], ['put', 'bob', '1'], ['close']]);
                return count(array_filter(\$replies, is_object(...)));" => 0,
            "return ($handler)->write('$bob', 'n|i:7;');" => true,
            "return ($handler)->destroy('$bob');" => true,
        ] as $next => $result) {
            $web->run("register_shutdown_function(fn () => exit(0));
                \$GLOBALS['c'] = $client; \$GLOBALS['c']->open(\$_COOKIE['PHPSESSID']);
                \$GLOBALS['c']->put('half', 'written');
                ini_set('memory_limit', '8M'); str_repeat('x', 100_000_000);", $alice);
            $this->assertSame($result, $web->evaluate($next), $next);
            $this->assertSame(['php' => 'n|i:1;'], $this->stored($alice), $next);
            $this->assertFree($alice);
        }
        $this->assertGone($bob);
    }

    /** PHP saves after the destructors if the shutdown function that saves was skipped, for example by an exit. */
    public function testSaveAfterDestructors(): void
    {
        $web = $this->web('tcp');
        [$id] = $web->evaluate(self::COUNT);
        $web->run('register_shutdown_function(fn () => exit(0)); ' . self::HANDLER . '
            session_start(); $_SESSION["n"]++; return 1;', $id);
        $this->assertSame(['php' => 'n|i:2;'], $this->stored($id));
        $this->assertFree($id);
    }

    /**
     * PHP releases persistent streams before such a late save. A stream that is opened after that must not persist,
     * since the next request would use memory that was freed with this one.
     *
     * @dataProvider schemes
     */
    public function testStreamOpenedDuringLateSaveDoesNotPersist(string $scheme): void
    {
        $web = $this->web($scheme);
        $id = bin2hex(random_bytes(16));
        $web->run('$dsn = SessionServer\Dsn::load(ini_get("session.save_path"));
        session_set_save_handler(new class($dsn, "' . $id . '") implements SessionHandlerInterface {
            public function __construct(private $dsn, private $target) {}
            public function open($path, $name): bool { return true; }
            public function close(): bool { return true; }
            public function read($id): string { return ""; }
            public function destroy($id): bool { return true; }
            public function gc($max): int { return 0; }
            public function write($id, $data): bool {
                $c = new SessionServer\Client($this->dsn);
                $c->open($this->target, "rw");
                $c->put("connection", (string) $c->call("client", "id"));
                $c->close();
                return true;
            }
        }, false); session_start(); $_SESSION["n"] = 1; return 1;');
        $late = (int) $this->stored($id)['connection'];
        $this->assertGreaterThan($late, $this->connection($web));
        $this->assertSame($this->connection($web), $this->connection($web));
    }

    /** Returns the server's id of the connection. */
    private function connection(WebServer $web): int
    {
        return $web->evaluate('return (' . self::CLIENT . ')->call("client", "id");');
    }

    /** @dataProvider schemes */
    public function testStreamIsReused(string $scheme): void
    {
        $web = $this->web($scheme);
        $first = $this->connection($web);
        [$id, $n] = $web->evaluate(self::COUNT);
        $this->assertSame([$id, 2], $web->evaluate(self::COUNT, $id));
        $this->assertSame($first, $this->connection($web));
        $roundTrips = $web->evaluate('$h = SessionServer\SaveHandler::register(); session_start(); $_SESSION["n"]++;
            session_write_close(); return $h->roundTrips();', $id);
        $this->assertSame(2, $roundTrips);
        self::$server->restart();
        $this->assertSame([$id, 4], $web->evaluate(self::COUNT, $id));
    }

    /** @dataProvider schemes */
    public function testLockIsReleasedAtAnyEndOfRequest(string $scheme): void
    {
        $web = $this->web($scheme);
        [$id] = $web->evaluate(self::COUNT);
        $n = 1;
        foreach ([
            'session_start(); session_abort(); exit("end");' => 0,
            'session_start(); $_SESSION["n"]++; exit("end");' => 1,
            'session_start(); $_SESSION["n"]++; undefined_function();' => 1,
            'session_start(); $_SESSION["n"]++; ini_set("memory_limit", "8M"); str_repeat("x", 100_000_000);' => 1,
            'session_start(); $_SESSION["n"]++; set_time_limit(1); while (true);' => 1,
            'session_start(); $_SESSION["f"] = function () {}; return 1;' => 0,
            // without the shutdown function that saves
            self::HANDLER . 'session_start(); $_SESSION["n"]++; return 1;' => 1,
            self::HANDLER . 'session_start(); $_SESSION["n"]++; undefined_function();' => 1,
            '$c = ' . self::CLIENT . '; $c->open($_COOKIE["PHPSESSID"]); undefined_function();' => 0,
            '$GLOBALS["c"] = ' . self::CLIENT . '; $GLOBALS["c"]->open($_COOKIE["PHPSESSID"]);
                ini_set("memory_limit", "8M"); str_repeat("x", 100_000_000);' => 0,
        ] as $code => $changes) {
            $printed = $web->run($code, $id);
            $this->assertFree($id);
            $n += $changes;
            $this->assertSame(["php" => "n|i:$n;"], $this->stored($id), "$code\n$printed");
            $this->assertSame([$id, ++$n], $web->evaluate(self::COUNT, $id), "$code\n$printed");
        }
    }

    /** @dataProvider schemes */
    public function testServerRestartDuringRequest(string $scheme): void
    {
        $web = $this->web($scheme);
        [$id] = $web->evaluate(self::COUNT);
        $dir = self::$server->dir;
        // The request waits within its session until the server has been restarted.
        $restarter = new Child(['php', '-r', 'while (!file_exists($argv[1])) usleep(1000); echo "in\n";', "$dir/in"]);
        $code = 'session_start(); $_SESSION["n"] = 99; touch("' . $dir . '/in");
            while (file_exists("' . $dir . '/in")) { usleep(1000); clearstatcache(); }
            try { session_write_close(); }
            catch (SessionServer\Exception\ConnectionException $e) { return $e->getMessage(); }';
        $pid = pcntl_fork();
        if ($pid === 0) { // the child must not run the destructors of this process
            file_put_contents("$dir/result", $web->run($code, $id));
            posix_kill(posix_getpid(), SIGKILL);
        }
        $restarter->readLine();
        self::$server->restart();
        unlink("$dir/in");
        pcntl_waitpid($pid, $status);
        $this->assertSame('null', file_get_contents("$dir/result"));
        unlink("$dir/result");
        $this->assertSame(['php' => 'n|i:99;'], $this->stored($id));
        $this->assertSame([$id, 100], $web->evaluate(self::COUNT, $id));
    }

    public function testLockTimeoutKeepsCookie(): void
    {
        $web = new WebServer(self::$server->dsn('lock_timeout=0'));
        $web->evaluate(self::COUNT);
        preg_match('/Set-Cookie: PHPSESSID=([0-9a-f]{32})/', $web->headers, $m);
        $id = $m[1];
        $holder = self::$server->client();
        $holder->open($id, 'u');
        $this->assertStringContainsString('LockTimeoutException', $web->run(self::COUNT, $id));
        $this->assertStringNotContainsString('Set-Cookie', $web->headers);
        self::$server->kill();
        $this->assertStringContainsString('ConnectionException', $web->run(self::COUNT, $id));
        $this->assertStringNotContainsString('Set-Cookie', $web->headers);
        self::$server->start();
        $this->assertSame([$id, 2], $web->evaluate(self::COUNT, $id));
    }

    /** mode=r changes no cookie, and sends none if use_cookies is off for visitors without one. */
    public function testCookiesOfModeR(): void
    {
        $web = new WebServer(self::$server->dsn('mode=r'));
        $web->run('session_start();', str_repeat('a', 32)); // an unknown id
        $this->assertStringNotContainsString('Set-Cookie', $web->headers);
        $web->run('session_start(["use_cookies" => (int) isset($_COOKIE[session_name()])]);');
        $this->assertStringNotContainsString('Set-Cookie', $web->headers);
        $id = $this->session();
        $code = 'session_start(["use_cookies" => (int) isset($_COOKIE[session_name()])]);
            return [session_id(), $_SESSION["n"]];';
        $this->assertSame([$id, 1], $web->evaluate($code, $id));
        $this->assertStringNotContainsString('Set-Cookie', $web->headers);
    }

    public function testSecretIsConcealed(): void
    {
        $web = new WebServer(str_replace('tcp://', 'tcp://shop:hss_S3cr3t@', self::$server->dsn()) . '/acme');
        foreach ([
            'session_start();',
            'session_start(["read_and_close" => true]);',
            'return ini_get("session.save_path");',
            'return session_save_path();',
            'var_dump(SessionServer\SaveHandler::register());',
            'try { session_start(); } catch (Exception $e) { print_r($e); throw $e; }',
            'ini_set("session.use_strict_mode", "0"); session_start();',
        ] as $code) {
            foreach (['', str_repeat('a', 32)] as $cookie) {
                $this->assertStringNotContainsString('S3cr3t', $web->run($code, $cookie), $code);
            }
        }
        $this->assertStringContainsString('BADAUTH', $web->run('session_start();'));
        $this->assertStringContainsString('tcp://shop:xxxxx@', $web->run('echo ini_get("session.save_path");'));
        $file = self::$server->dir . '/secret.dsn';
        file_put_contents($file, str_replace('tcp://', 'tcp://shop:hss_S3cr3t@', self::$server->dsn()) . '/acme');
        $web = new WebServer("file://$file");
        $this->assertStringContainsString('BADAUTH', $web->run('session_start();'));
        $this->assertStringNotContainsString('S3cr3t', $web->run('phpinfo();')); // also in the master value
    }
}
