<?php

declare(strict_types=1);

namespace SessionServer\Tests;

use SessionServer\Client;
use SessionServer\Exception\LockTimeoutException;
use SessionServer\Exception\TimeoutException;

/**
 * Silent servers and network paths. The message of the exception has the time of the wait.
 */
final class DeadPathTest extends SessionTestCase
{
    public static function setUpBeforeClass(): void
    {
        self::$server = new Server('session: {lock_wait: 500ms}');
    }

    /** Starts a server that replies to all commands up to the one that it ignores. */
    private function fake(string $ignored): Child
    {
        return new Child(['php', '-r', <<<'PHP'
            $server = stream_socket_server('tcp://127.0.0.1:0');
            echo stream_socket_get_name($server, false), "\n";
            $streams = [];
            while ($streams[] = $stream = stream_socket_accept($server, 60)) {
                while (($line = fgets($stream)) !== false) {
                    for ($words = [], $n = (int) substr($line, 1); $n > 0; $n--) {
                        $words[] = substr(fread($stream, (int) substr(fgets($stream), 1) + 2), 0, -2);
                    }
                    if ($words[0] === $argv[1]) {
                        break;
                    }
                    fwrite($stream, $words[0] !== 'hello' ? "+OK\r\n" : "*2\r\n$12\r\nlock_wait_ms\r\n$3\r\n500\r\n");
                }
            }
            PHP, $ignored]);
    }

    /** @return array<array{string, string, string}> */
    public function silences(): array
    {
        return [
            'before the first reply' => ['hello', '', '0.3'],
            'before the open' => ['abort', '', '0.3'],
            'at the open, with the wait of the tenant' => ['open', '', '0.8'],
            'at the open, with the wait of the DSN' => ['open', '&lock_timeout=0.2', '0.5'],
            'at the open, without a wait' => ['open', '&lock_timeout=0', '0.3'],
            'after the open' => ['get', '', '0.3'],
        ];
    }

    /** @dataProvider silences */
    public function testTimeoutOfOpenIncludesLockWait(string $ignored, string $query, string $seconds): void
    {
        $fake = $this->fake($ignored);
        $dsn = \SessionServer\Dsn::parse('tcp://' . $fake->readLine() . "?timeout=0.3$query");
        $this->expectException(TimeoutException::class);
        $this->expectExceptionMessage("no reply within $seconds s");
        $open = Client::openRequest(str_repeat('a', 32), 'rw', $dsn->lockTimeout);
        (new Client($dsn))->pipeline([['abort'], $open, ['get', 'a']]);
    }

    /** The wait for a lock is the tenant's, also with a shorter timeout. */
    public function testLockWaitOfTenant(): void
    {
        $holder = self::$server->client();
        $id = $holder->new();
        foreach (['', '&persistent=1', '&persistent=1'] as $parameter) {
            $client = self::$server->client("timeout=0.4$parameter");
            try {
                $client->open($id, 'rw');
                $this->fail('two clients have the lock');
            } catch (LockTimeoutException) {
                $this->assertSame(1, $client->roundTrips());
            }
        }
    }

    /** After a reset the client reads the wait of its tenant again. */
    public function testLockWaitAfterReset(): void
    {
        $client = self::$server->client('timeout=0.4');
        $holder = self::$server->client();
        $id = $holder->new();
        foreach ([fn () => $client->reset(), fn () => $client->call('reset')] as $reset) {
            $client->ping();
            $reset();
            $replies = $client->pipeline([['open', $id]]);
            $this->assertSame([LockTimeoutException::class], array_map(get_class(...), $replies));
        }
    }

    public function testStoppedServer(): void
    {
        $id = $this->session();
        $idle = self::$server->client('timeout=0.3');
        $idle->ping();
        self::$server->freeze();
        try {
            foreach ([self::$server->client('timeout=0.3'), $idle] as $client) {
                try {
                    $client->open($id);
                    $this->fail('open succeeded');
                } catch (TimeoutException $e) {
                    $this->assertMatchesRegularExpression('/no reply within (0\.3|0\.8) s/', $e->getMessage());
                }
            }
            $code = 'try { session_start(); } catch (Exception $e) { return $e->getMessage(); }';
            $request = $this->start($code, $id, 'timeout=0.3');
            $this->assertStringContainsString('no reply within 0.3 s', $request->finish()->result);
        } finally {
            self::$server->thaw();
        }
        $this->assertFree($id);
    }

    /** A persistent stream over a dead path is replaced, and a session is saved once. */
    public function testDeadPersistentStreamIsReplaced(): void
    {
        $proxy = new Child(['php', __DIR__ . '/proxy.php', self::$server->address]);
        $web = new WebServer('tcp://' . $proxy->readLine() . '?persistent=1&timeout=2');
        $count = 'session_start(); $_SESSION["n"] = ($_SESSION["n"] ?? 0) + 1; session_write_close();
            return [session_id(), $_SESSION["n"]];';
        [$id] = $web->evaluate($count);
        $client = '(new SessionServer\Client(SessionServer\Dsn::load(ini_get("session.save_path"))))';
        foreach ([
            $count => [$id, 2],
            "return count({$client}->pipeline([['open', '$id'], ['put', 'other', '1'], ['close']]));" => 3,
            "return (new SessionServer\\SaveHandler(SessionServer\\Dsn::load(ini_get('session.save_path'))))
                ->destroy('$id');" => true,
        ] as $code => $result) {
            $proxy->send('freeze');
            $this->assertSame('frozen', $proxy->readLine());
            $this->assertSame($result, $web->evaluate($code, $id), $code);
        }
        $this->assertGone($id);
    }

    /** An idle connection over a dead path is replaced. */
    public function testDeadConnectionIsReplaced(): void
    {
        $proxy = new Child(['php', __DIR__ . '/proxy.php', self::$server->address]);
        $client = new Client('tcp://' . $proxy->readLine() . '?timeout=2');
        $id = $client->new();
        $client->put('a', '1');
        $client->close();
        $proxy->send('freeze');
        $this->assertSame('frozen', $proxy->readLine());
        $connection = (new \ReflectionProperty($client, 'connection'))->getValue($client);
        (new \ReflectionProperty($connection, 'lastUse'))->setValue($connection, -INF);
        $client->open($id, 'u');
        $this->assertSame(['a' => '1'], $client->getAll());
    }
}
