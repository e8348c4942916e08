<?php

declare(strict_types=1);

namespace SessionServer\Tests;

/**
 * Processes that are forks of one with connections and sessions.
 */
final class ForkTest extends SessionTestCase
{
    /** What the code of requests has: fork() runs a function in a fork, and returns how that ended. */
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
            'tls' => str_replace(['tcp://', '127.0.0.1'], ['tls://', 'localhost'], self::$server->dsn('cafile=' . self::$dir . '/server.pem'))
                . ($query === '' ? '' : "&$query"),
        };
    }

    private function inForks(string $dsn, string $code, string $cookie = '', array $ini = []): Result
    {
        return (new Request($dsn, self::FORK . $code, $cookie, $ini))->finish();
    }

    /**
     * The same client in a process and its forks, all at once: every one sees its own session, and the parent's is
     * not hurt by the end of the forks.
     *
     * @dataProvider connections
     */
    public function testAClientHasAConnectionInEachProcess(string $scheme, string $query): void
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
            $answers = [$foreign(0)];
            $client->open($ids[0]);
            $client->put('more', '1');
            $connection = $client->call('client', 'id');
            foreach ($children as $child) {
                $answers[] = $status($child);
            }
            $client->close();
            return [$ids[0], $answers, $client->call('client', 'id') - $connection];
            PHP);
        [$id, $answers, $reconnected] = $r->result;
        $this->assertSame([[0, 0, 0, 0, 0], 0, ''], [$answers, $reconnected, $r->printed]);
        $this->assertSame(['owner' => '0', 'more' => '1'], $this->stored($id));
    }

    /**
     * A session that is open at the time of the fork is the parent's, whatever the fork does to the client.
     *
     * @dataProvider connections
     */
    public function testAForkHasNoPartInAnOpenSession(string $scheme, string $query): void
    {
        foreach ([
            'return (int) $client->isOpen();',
            'try { $client->put("child", "1"); } catch (SessionServer\Exception\NoSessionException) { return 0; } return 1;',
            'try { $client->close(); } catch (SessionServer\Exception\NoSessionException) { return 0; } return 1;',
            '$client->disconnect(); return 0;',
            '$client->quit(); return 0;',
            '$client->reset(); return 0;',
            'unset($client); gc_collect_cycles(); return 0;',
            'return 0;', // only its end
        ] as $child) {
            $r = $this->inForks($this->dsn($scheme, $query), "\$client = new SessionServer\\Client(ini_get('session.save_path'));
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
     * PHP saves and closes a session at the end of every process that has it, forks too.
     *
     * @dataProvider connections
     */
    public function testTheEndOfAForkLeavesThePhpSessionToTheParent(string $scheme, string $query): void
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

    /** What a fork does to the session of its parent on purpose has no effect, and it learns so. */
    public function testAForkIsToldThatTheSessionIsItsParents(): void
    {
        foreach ([
            '$_SESSION["n"] = "child"; session_write_close();' => 'Warning: sessionserver: the session was not saved: the parent process has the session open',
            'session_write_close();' => '',
            'session_destroy();' => 'LockTimeoutException: sessionserver: open: LOCKTIMEOUT ',
            'session_regenerate_id(true);' => 'READONLY the parent process has the session open',
        ] as $child => $message) {
            $id = $this->session();
            $r = $this->inForks($this->dsn('tcp', 'lock_timeout=0'), "session_start();
                \$wait(static function () { $child return 0; });
                \$_SESSION['n'] = 2;", $id);
            $message === '' ? $this->assertSame('', $r->printed) : $this->assertStringContainsString($message, $r->printed, $child);
            $this->assertSame(['php' => 'n|i:2;'], $this->stored($id), $child);
        }
    }

    /**
     * A fork may begin anew: it waits for its parent like anybody else.
     *
     * @dataProvider connections
     */
    public function testAForkStartsTheSessionItself(string $scheme, string $query): void
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
        $this->assertSame(['php' => 'n|i:42;moved|i:1;'], $this->stored($id)); // its old id leads on for a while
    }

    /**
     * Workers that are forked off a process with the handler registered, before a session or between two.
     *
     * @dataProvider connections
     */
    public function testForksShareAHandler(string $scheme, string $query): void
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
     * Persistent streams that nobody has at the time of the fork stay the parent's.
     *
     * @testWith ["tcp"]
     *           ["unix"]
     *           ["tls"]
     */
    public function testKeptStreamsStayWithTheParent(string $scheme): void
    {
        $r = $this->inForks($this->dsn($scheme, 'persistent=1'), <<<'PHP'
            $number = static fn (): int => (new SessionServer\Client(ini_get('session.save_path')))->call('client', 'id');
            $first = $number();
            $same = $wait(static fn () => (int) ($number() === $first));
            $nothing = $wait(static fn () => 0);
            return [$number() - $first, $same, $nothing];
            PHP);
        $this->assertSame([[0, 0, 0], ''], [$r->result, $r->printed]);
    }

    /** A socket's path that leaves no room for what tells processes apart. */
    public function testALongPathOfASocketDoesNotPersist(): void
    {
        $dsn = str_replace('/socket', str_repeat('/.', 20) . '/socket', self::$server->unixDsn('persistent=1'));
        $r = $this->inForks($dsn, '$number = static fn (): int => (new SessionServer\Client(ini_get("session.save_path")))->call("client", "id");
            $first = $number();
            $same = $wait(static fn () => (int) ($number() === $first));
            return [$number() > $first, $same];');
        $this->assertSame([[true, 0], ''], [$r->result, $r->printed]);
    }

    /** Without the extension FFI a fork that lives does not disturb its parent either, nor one that is killed. */
    public function testForksOverTlsWithoutFfi(): void
    {
        $r = $this->inForks($this->dsn('tls', ''), '$client = new SessionServer\Client(ini_get("session.save_path"));
            $id = $client->new();
            $client->put("before", "1");
            $ended = $wait(static function () use ($client) { $client->ping(); posix_kill(posix_getpid(), SIGKILL); });
            $client->close();
            return [$id, $ended];', '', ['ffi.enable' => '0']);
        $this->assertSame([-9, ''], [$r->result[1], $r->printed]);
        $this->assertSame(['before' => '1'], $this->stored($r->result[0]));
    }
}
