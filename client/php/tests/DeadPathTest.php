<?php

declare(strict_types=1);

namespace SessionServer\Tests;

use SessionServer\Client;
use SessionServer\Exception\LockTimeoutException;
use SessionServer\Exception\TimeoutException;

/**
 * Servers and paths that are silent. How long is waited for them stands in the exception.
 */
final class DeadPathTest extends SessionTestCase
{
    private const LOCK_WAIT = 0.5;

    public static function setUpBeforeClass(): void
    {
        self::$server = new Server('session: {lock_wait: 500ms}');
    }

    /** A server that says hello, tells what it is asked, and replies to pings and sessions as long as it is told to. */
    private function fake(string $dead): Child
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
            PHP, $dead]);
    }

    /** @return array<array{string, string, string}> */
    public function silences(): array
    {
        return [
            'before the first reply' => ['hello', '', '0.3'],
            'before the open' => ['abort', '', '0.3'],
            'at the open: the wait of the tenant' => ['open', '', '0.8'],
            'at the open: the wait of the DSN' => ['open', '&lock_timeout=0.2', '0.5'],
            'at the open: no wait' => ['open', '&lock_timeout=0', '0.3'],
            'behind the open' => ['get', '', '0.3'],
        ];
    }

    /** @dataProvider silences */
    public function testAnOpenIsWaitedForAsLongAsALock(string $dead, string $query, string $seconds): void
    {
        $fake = $this->fake($dead);
        $dsn = \SessionServer\Dsn::parse('tcp://' . $fake->line() . "?timeout=0.3$query");
        $this->expectException(TimeoutException::class);
        $this->expectExceptionMessage("no reply within $seconds s");
        (new Client($dsn))->pipeline([['abort'], Client::openRequest(str_repeat('a', 32), 'rw', $dsn->lockTimeout), ['get', 'a']]);
    }

    /** A lock is waited for as long as the tenant says, however short the time-out is. */
    public function testTheTenantsWaitIsKnown(): void
    {
        $holder = self::$server->client();
        $id = $holder->new();
        foreach (['', '&persistent=1', '&persistent=1'] as $more) {
            $client = self::$server->client("timeout=0.4$more");
            try {
                $client->open($id, 'rw');
                $this->fail('it is open twice');
            } catch (LockTimeoutException) {
                $this->assertSame(1, $client->roundTrips());
            }
        }
    }

    /** The wait is that of whoever the connection acts as. */
    public function testTheWaitAfterAReset(): void
    {
        $client = self::$server->client('timeout=0.4');
        $holder = self::$server->client();
        $id = $holder->new();
        foreach ([fn () => $client->reset(), fn () => $client->call('reset')] as $reset) {
            $client->ping();
            $reset();
            $this->assertSame([LockTimeoutException::class], array_map(get_class(...), $client->pipeline([['open', $id]])));
        }
    }

    public function testAStoppedServer(): void
    {
        $id = $this->session();
        $idle = self::$server->client('timeout=0.3');
        $idle->ping();
        self::$server->freeze();
        try {
            foreach ([self::$server->client('timeout=0.3'), $idle] as $client) {
                try {
                    $client->open($id);
                    $this->fail('it is open');
                } catch (TimeoutException $e) {
                    $this->assertMatchesRegularExpression('/no reply within (0\.3|0\.8) s/', $e->getMessage());
                }
            }
            $request = $this->start('try { session_start(); } catch (Exception $e) { return $e->getMessage(); }', $id, 'timeout=0.3');
            $this->assertStringContainsString('no reply within 0.3 s', $request->end()->result);
        } finally {
            self::$server->thaw();
        }
        $this->assertFree($id);
    }

    /** A persistent stream over a path that forwards nothing any more is replaced; a session is saved once. */
    public function testAFrozenPersistentStreamIsReplaced(): void
    {
        $proxy = new Child(['php', __DIR__ . '/proxy.php', self::$server->address]);
        $web = new WebServer('tcp://' . $proxy->line() . '?persistent=1&timeout=2');
        $count = 'session_start(); $_SESSION["n"] = ($_SESSION["n"] ?? 0) + 1; session_write_close(); return [session_id(), $_SESSION["n"]];';
        [$id] = $web->ask($count);
        $client = '(new SessionServer\Client(SessionServer\Dsn::load(ini_get("session.save_path"))))';
        foreach ([
            $count => [$id, 2],
            "return count({$client}->pipeline([['open', '$id'], ['put', 'other', '1'], ['close']]));" => 3,
            "return (new SessionServer\\SaveHandler(SessionServer\\Dsn::load(ini_get('session.save_path'))))->destroy('$id');" => true,
        ] as $code => $answer) {
            $proxy->say('freeze');
            $this->assertSame('frozen', $proxy->line());
            $this->assertSame($answer, $web->ask($code, $id), $code);
        }
        $this->assertGone($id);
    }

    /** A process that lives long has not used its connection for a while. */
    public function testAFrozenConnectionIsReplaced(): void
    {
        $proxy = new Child(['php', __DIR__ . '/proxy.php', self::$server->address]);
        $client = new Client('tcp://' . $proxy->line() . '?timeout=2');
        $id = $client->new();
        $client->put('a', '1');
        $client->close();
        $proxy->say('freeze');
        $this->assertSame('frozen', $proxy->line());
        $connection = (new \ReflectionProperty($client, 'connection'))->getValue($client);
        (new \ReflectionProperty($connection, 'lastUse'))->setValue($connection, -INF);
        $client->open($id, 'u');
        $this->assertSame(['a' => '1'], $client->getAll());
    }
}
