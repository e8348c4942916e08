<?php

declare(strict_types=1);

namespace SessionServer\Tests;

/**
 * Child processes of a process with connections and sessions.
 */
final class ForkTest extends SessionTestCase
{
    /** Functions for the code of requests: $fork runs a function in a child, and $status waits for its exit status. */
    private const FORK = <<<'PHP'
        $fork = static function (callable $child): int {
            $pid = pcntl_fork();
            if ($pid === 0) {
                ob_end_clean();
                exit($child());
            }
            return $pid;
        };
        $status = static function (int $pid): int {
            pcntl_waitpid($pid, $status);
            return pcntl_wifexited($status) ? pcntl_wexitstatus($status) : -pcntl_wtermsig($status);
        };
        $wait = static fn (callable $child): int => $status($fork($child));
        PHP;

    private static string $dir;

    public static function setUpBeforeClass(): void
    {
        self::$dir = sys_get_temp_dir() . '/fork-' . bin2hex(random_bytes(8));
        mkdir(self::$dir, 0700);
        Certificate::make(self::$dir, 'server');
        $files = '{cert: "' . self::$dir . '/server.pem", key: "' . self::$dir . '/server.key"}';
        self::$server = new Server("session: {strict: false}\ntls: {certificates: [$files]}");
    }

    public static function tearDownAfterClass(): void
    {
        parent::tearDownAfterClass();
        exec('rm -rf ' . escapeshellarg(self::$dir));
    }

    /** @return array<string, array{string, string}> */
    public function connections(): array
    {
        $connections = [];
        foreach (['tcp', 'unix', 'tls'] as $scheme) {
            $connections += [$scheme => [$scheme, ''], "$scheme, persistent" => [$scheme, 'persistent=1']];
        }
        return $connections;
    }

    private function dsn(string $scheme, string $query): string
    {
        return match ($scheme) {
            'tcp' => self::$server->dsn($query),
            'unix' => self::$server->unixDsn($query),
            'tls' => str_replace(
                ['tcp://', '127.0.0.1'],
                ['tls://', 'localhost'],
                self::$server->dsn('cafile=' . self::$dir . '/server.pem'),
            ) . ($query === '' ? '' : "&$query"),
        };
    }

    private function inForks(string $dsn, string $code, string $cookie = '', array $ini = []): Result
    {
        return (new Request($dsn, self::FORK . $code, $cookie, $ini))->finish();
    }

    /**
     * A client that a process and its children use at the same time reads the right session in each of them. The end
     * of the children leaves the parent's connection open.
     *
     * @dataProvider connections
     */
    public function testClientHasConnectionInEachProcess(string $scheme, string $query): void
    {
        $r = $this->inForks($dsn = $this->dsn($scheme, $query), <<<'PHP'
            $client = new SessionServer\Client(ini_get('session.save_path'));
            $ids = [];
            for ($i = 0; $i < 5; $i++) {
                $ids[] = $client->new();
                $client->put('owner', "$i");
                $client->close();
            }
            $foreign = static function (int $i) use ($client, $ids): int {
                $foreign = 0;
                for ($n = 0; $n < 200; $n++) {
                    $replies = $client->pipeline([['open', $ids[$i], 's', '0'], ['get', 'owner'], ['close']]);
                    $foreign += (int) ($replies[1] !== "$i");
                }
                return $foreign;
            };
            $children = array_map(static fn (int $i) => $fork(static fn () => $foreign($i)), [1, 2, 3, 4]);
            $results = [$foreign(0)];
            $client->open($ids[0]);
            $client->put('more', '1');
            $connection = $client->call('client', 'id');
            foreach ($children as $child) {
                $results[] = $status($child);
            }
            $client->close();
            return [$ids[0], $results, $client->call('client', 'id') - $connection];
            PHP);
        [$id, $results, $reconnected] = $r->result;
        $this->assertSame([[0, 0, 0, 0, 0], 0, ''], [$results, $reconnected, $r->printed]);
        $this->assertSame(['owner' => '0', 'more' => '1'], $this->stored($id));
    }

    /**
     * A session that is open at the fork remains the parent's, whatever the child does with the client.
     *
     * @dataProvider connections
     */
    public function testChildCannotUseOpenSession(string $scheme, string $query): void
    {
        foreach ([
            'return (int) $client->isOpen();',
            'try { $client->put("child", "1"); return 1; }
                catch (SessionServer\Exception\NoSessionException) { return 0; }',
            'try { $client->close(); return 1; }
                catch (SessionServer\Exception\NoSessionException) { return 0; }',
            '$client->disconnect(); return 0;',
            '$client->quit(); return 0;',
            '$client->reset(); return 0;',
            'unset($client); gc_collect_cycles(); return 0;',
            'return 0;', // the end of the child alone
        ] as $child) {
            $r = $this->inForks($this->dsn($scheme, $query), "
                \$client = new SessionServer\\Client(ini_get('session.save_path'));
                \$id = \$client->new();
                \$client->put('before', '1');
                \$ended = \$wait(static function () use (&\$client) { $child });
                \$client->put('after', '2');
                \$client->close();
                return [\$id, \$ended];");
            $this->assertSame([0, ''], [$r->result[1], $r->printed], $child);
            $this->assertSame(['before' => '1', 'after' => '2'], $this->stored($r->result[0]), $child);
        }
    }

    /**
     * PHP saves and closes the session at the end of every process, also at the end of a child.
     *
     * @dataProvider connections
     */
    public function testEndOfChildKeepsPhpSessionOfParent(string $scheme, string $query): void
    {
        foreach ([
            'return 0;' => 0,
            'exit(3);' => 3,
            '$_SESSION["n"] = "child"; return 0;' => 0,
            'session_abort(); return 0;' => 0,
            'ini_set("display_errors", "0"); undefined_function();' => 255,
            'ini_set("display_errors", "0"); ini_set("memory_limit", "8M"); str_repeat("x", 100_000_000);' => 255,
            'posix_kill(posix_getpid(), SIGKILL);' => -9,
        ] as $child => $end) {
            $id = $this->session();
            $r = $this->inForks($this->dsn($scheme, $query), "session_start();
                \$_SESSION['n'] = 2;
                \$ended = \$wait(static function () { $child });
                \$_SESSION['m'] = 3;
                session_write_close();
                return \$ended;", $id);
            $this->assertSame([$end, ''], [$r->result, $r->printed], $child);
            $this->assertSame(['php' => 'n|i:2;m|i:3;'], $this->stored($id), $child);
            $this->assertFree($id);
        }
    }

    /** Operations of a child on the session of its parent have no effect, and yield a warning or an exception. */
    public function testChildIsWarnedAboutSessionOfParent(): void
    {
        foreach ([
            '$_SESSION["n"] = "child"; session_write_close();'
                => 'Warning: sessionserver: the session was not saved: the parent process has the session open',
            'session_write_close();' => '',
            'session_destroy();' => 'LockTimeoutException: sessionserver: open: LOCKTIMEOUT ',
            'session_regenerate_id(true);' => 'READONLY the parent process has the session open',
        ] as $child => $message) {
            $id = $this->session();
            $r = $this->inForks($this->dsn('tcp', 'lock_timeout=0'), "session_start();
                \$wait(static function () { $child return 0; });
                \$_SESSION['n'] = 2;", $id);
            $message === '' ? $this->assertSame('', $r->printed)
                : $this->assertStringContainsString($message, $r->printed, $child);
            $this->assertSame(['php' => 'n|i:2;'], $this->stored($id), $child);
        }
    }

    /**
     * A child may start the session itself. It waits for the lock like any other request.
     *
     * @dataProvider connections
     */
    public function testChildStartsSession(string $scheme, string $query): void
    {
        $id = $this->session();
        $request = new Request($this->dsn($scheme, $query), self::FORK . 'session_start();
            $child = $fork(static function () {
                session_abort();
                session_start();
                $_SESSION["n"]++;
                session_write_close();
                session_start();
                session_regenerate_id(true);
                $_SESSION["moved"] = 1;
                return 0;
            });
            gate("forked");
            $_SESSION["n"] = 41;
            session_write_close();
            return $status($child);', $id);
        $request->await('forked');
        self::$server->awaitWaiter();
        $r = $request->resume()->finish();
        $this->assertSame([0, ''], [$r->result, $r->printed]);
        $this->assertSame(['php' => 'n|i:42;moved|i:1;'], $this->stored($id)); // within the grace period
    }

    /**
     * Workers of a process that has registered the handler, forked before a session or between two sessions.
     *
     * @dataProvider connections
     */
    public function testWorkersShareHandler(string $scheme, string $query): void
    {
        foreach (['', 'session_start(); $_SESSION["n"] = 1; session_write_close();'] as $before) {
            $r = $this->inForks($this->dsn($scheme, $query), "$before
                \$worker = static function (int \$i): int {
                    for (\$n = 0; \$n < 20; \$n++) {
                        session_id(str_repeat((string) \$i, 32));
                        session_start();
                        if ((\$_SESSION['owner'] ??= \$i) !== \$i) {
                            return 1;
                        }
                        \$_SESSION['n'] = \$n;
                        session_write_close();
                    }
                    return 0;
                };
                ini_set('session.use_strict_mode', '0');
                \$children = array_map(static fn (int \$i) => \$fork(static fn () => \$worker(\$i)), [1, 2, 3, 4]);
                return [\$worker(5), ...array_map(\$status, \$children)];");
            $this->assertSame([[0, 0, 0, 0, 0], ''], [$r->result, $r->printed]);
        }
    }

    /**
     * Persistent streams without a user at the fork remain the parent's.
     *
     * @testWith ["tcp"]
     *           ["unix"]
     *           ["tls"]
     */
    public function testIdleStreamsRemainInParent(string $scheme): void
    {
        $r = $this->inForks($this->dsn($scheme, 'persistent=1'), <<<'PHP'
            $id = static fn (): int => (new SessionServer\Client(ini_get('session.save_path')))->call('client', 'id');
            $first = $id();
            $same = $wait(static fn () => (int) ($id() === $first));
            $nothing = $wait(static fn () => 0);
            return [$id() - $first, $same, $nothing];
            PHP);
        $this->assertSame([[0, 0, 0], ''], [$r->result, $r->printed]);
    }

    /** A stream to a socket with a long path does not persist, since the path has no room for the stream's key. */
    public function testLongSocketPathDoesNotPersist(): void
    {
        $dsn = str_replace('/socket', str_repeat('/.', 28) . '/socket', self::$server->unixDsn('persistent=1'));
        $r = $this->inForks($dsn, <<<'PHP'
            $id = static fn (): int => (new SessionServer\Client(ini_get('session.save_path')))->call('client', 'id');
            $first = $id();
            $same = $wait(static fn () => (int) ($id() === $first));
            return [$id() > $first, $same];
            PHP);
        $this->assertSame([[true, 0], ''], [$r->result, $r->printed]);
    }

    /** Without the extension FFI a running child and a killed child leave the parent's TLS connection open too. */
    public function testChildOverTlsWithoutFfi(): void
    {
        $r = $this->inForks($this->dsn('tls', ''), '$client = new SessionServer\Client(ini_get("session.save_path"));
            $id = $client->new();
            $client->put("before", "1");
            $ended = $wait(static function () use ($client) {
                $client->ping();
                posix_kill(posix_getpid(), SIGKILL);
            });
            $client->close();
            return [$id, $ended];', '', ['ffi.enable' => '0']);
        $this->assertSame([-9, ''], [$r->result[1], $r->printed]);
        $this->assertSame(['before' => '1'], $this->stored($r->result[0]));
    }
}
