<?php

declare(strict_types=1);

namespace SessionServer\Tests;

use PHPUnit\Framework\TestCase;
use SessionServer\Client;
use SessionServer\Exception\BadAuthException;
use SessionServer\Exception\BadIdException;
use SessionServer\Exception\BusyException;
use SessionServer\Exception\ConnectionException;
use SessionServer\Exception\LockTimeoutException;
use SessionServer\Exception\NoKeyException;
use SessionServer\Exception\NoSessionException;
use SessionServer\Exception\NotFoundException;
use SessionServer\Exception\ReadOnlyException;
use SessionServer\Exception\ServerException;
use SessionServer\Exception\SessionServerException;
use SessionServer\Exception\TimeoutException;
use SessionServer\Exception\UnavailableException;
use SessionServer\Exception\UnknownCommandException;

final class ClientTest extends SessionTestCase
{
    /** @return array<array{string}> */
    public function transports(): array
    {
        return [
            'tcp' => ['tcp'],
            'unix' => ['unix'],
            'tcp, persistent' => ['tcp', 'persistent=1'],
            'unix, persistent' => ['unix', 'persistent=1'],
        ];
    }

    private function connect(string $scheme, string $query = ''): Client
    {
        return new Client($scheme === 'unix' ? self::$server->unixDsn($query) : self::$server->dsn($query));
    }

    /** @dataProvider transports */
    public function testEveryCommand(string $scheme, string $query = ''): void
    {
        $c = $this->connect($scheme, $query);
        $this->assertSame(['PONG', 'hi', 'there'], [$c->ping(), $c->ping('hi'), $c->echo('there')]);
        $this->assertStringContainsString('regenerate_id', $c->help());
        $this->assertStringStartsWith('regenerate_id [grace_s]', $c->help('regenerate_id'));
        $this->assertSame('sessionserver', $c->hello()['server']);
        $this->assertNotSame('', $c->info());

        $id = $c->new(600);
        $this->assertTrue($c->isOpen());
        $bytes = implode('', array_map('chr', range(0, 255))) . "\r\n$5\r\n";
        $c->put('bytes', $bytes);
        $c->putMany(["key with\nall | of \u{1f600}" => str_repeat('x', 1 << 20), '7' => '', 'gone' => 'soon']);
        $this->assertSame([$bytes, ''], [$c->get('bytes'), $c->get('7')]);
        $this->assertNull($c->get('nothing'));
        $this->assertSame(['soon', null], $c->getMany('gone', 'nothing'));
        $this->assertSame(['soon'], $c->getMany('gone'));
        $this->assertSame([1, true, false], [$c->remove('gone', 'nothing'), $c->exists('7'), $c->exists('gone')]);
        $this->assertSame(['bytes', "key with\nall | of \u{1f600}", '7'], $c->keys());
        $all = ['bytes' => $bytes, "key with\nall | of \u{1f600}" => str_repeat('x', 1 << 20), 7 => ''];
        $this->assertSame($all, $c->getAll());
        $c->expire('7', 300);
        $this->assertSame([600, 700, 700], [$c->lifetime(), $c->lifetime(700), $c->lifetime()]);
        $c->commit();
        $this->assertSame([1, 3], [$c->stat()['version'], $c->stat()['keys']]);
        $c->close();
        $this->assertFalse($c->isOpen());

        $c->open($id, 'u', 0.5);
        $c->putAll(['only' => 'this']);
        $c->abort();
        $c->open($id);
        $this->assertCount(3, $c->keys());
        $c->putAll(['only' => 'this']);
        $new = $c->regenerateId(60);
        $c->close();
        $c->open($id, 'r');
        $this->assertSame(['only' => 'this'], $c->getAll());
        $c->reset();
        $this->assertFalse($c->isOpen());
        $c->open($new, 's');
        $c->close();
        $c->open($new);
        $c->destroy();
        $this->assertGone($new);
        $c->quit();
        $this->assertSame('PONG', $c->ping()); // connects again
        $c->disconnect();
    }

    public function testErrors(): void
    {
        $c = self::$server->client();
        $id = $c->new();
        foreach ([
            [BusyException::class, fn () => $c->new()],
            [NoKeyException::class, fn () => $c->expire('nothing', 5)],
            [UnknownCommandException::class, fn () => $c->call('nonsense')],
            [LockTimeoutException::class, fn () => self::$server->client()->open($id, 'rw', 0)],
            [BadIdException::class, fn () => self::$server->client()->open('short')],
            [NotFoundException::class, fn () => self::$server->client()->open(str_repeat('z', 32), 'u')],
            [NoSessionException::class, fn () => self::$server->client()->get('a')],
            [BadAuthException::class, fn () => self::$server->client()->auth('unknown', 'unknown', 'hss_wrong')],
        ] as [$class, $do]) {
            try {
                $do();
                $this->fail("$class was not thrown");
            } catch (ServerException $e) {
                $this->assertInstanceOf($class, $e);
                $this->assertStringContainsString($e->errorCode . ' ' . $e->serverMessage, $e->getMessage());
                $this->assertStringNotContainsString($id, $e->getMessage());
            }
        }
        $this->assertTrue($c->isOpen());
    }

    /** The codes of the protocol and the exception classes correspond. */
    public function testErrorCodes(): void
    {
        $protocol = file_get_contents(getenv('SESSIONSERVER_PROTOCOL') ?: __DIR__ . '/../../../wire/PROTOCOL.md');
        $table = explode('## 7.', explode('## 6. Errors', $protocol)[1])[0];
        preg_match_all('/^\| `([A-Z]+)` \|/m', $table, $m);
        $this->assertSame($m[1], ServerException::codes());
        foreach ($m[1] as $code) {
            $e = ServerException::fromReply("$code some text", 'open');
            $this->assertNotSame(ServerException::class, $e::class);
            $this->assertInstanceOf(SessionServerException::class, $e);
            $this->assertNotInstanceOf(ConnectionException::class, $e);
            $this->assertSame([$code, 'some text'], [$e->errorCode, $e->serverMessage]);
            $this->assertSame("sessionserver: open: $code some text", $e->getMessage());
            $this->assertStringContainsString("$code: ", (string) (new \ReflectionClass($e))->getDocComment());
        }
        $this->assertSame(ServerException::class, ServerException::fromReply('NEWCODE text')::class);
    }

    public function testPipeline(): void
    {
        $c = self::$server->client();
        $replies = $c->pipeline([['new'], ['put', 'a', '1'], ['put', str_repeat('k', 257), 'x'], ['get', 'a', 'b'],
            ['remove', 'a'], ['abort']]);
        $this->assertSame(1, $c->roundTrips());
        $this->assertSame(['OK', ['1', null], 1, 'OK'], [$replies[1], $replies[3], $replies[4], $replies[5]]);
        $this->assertInstanceOf(ServerException::class, $replies[2]);
        $this->assertFalse($c->isOpen());
    }

    /** The wait for a lock may be longer than the timeout. */
    public function testTimeoutExcludesExplicitLockWait(): void
    {
        $holder = self::$server->client();
        $id = $holder->new();
        $this->expectException(LockTimeoutException::class);
        self::$server->client('timeout=0.05')->open($id, 'rw', 0.2);
    }

    public function testTimeoutExcludesLockWaitOfTenant(): void
    {
        $server = new Server('session: {lock_wait: 200ms}');
        $holder = $server->client();
        $id = $holder->new();
        $this->expectException(LockTimeoutException::class);
        $server->client('timeout=0.05')->open($id, 'rw'); // the session is not saved yet
    }

    public function testLockTimeoutOfDsn(): void
    {
        $holder = self::$server->client();
        $id = $holder->new();
        $holder->put('a', '1');
        $holder->commit();
        $holder->abort();
        $this->assertSame('u', $holder->open($id, 'u'));
        $holder->put('a', '2');
        $start = microtime(true);
        try {
            self::$server->client('lock_timeout=0.1')->open($id, 'u');
            $this->fail('two clients have the lock');
        } catch (LockTimeoutException) {
            $this->assertLessThan(8, microtime(true) - $start); // the tenant's wait is 10 s
        }
        $reader = self::$server->client('lock_timeout=600&on_lock_timeout=readonly');
        $this->assertSame('s', $reader->open($id, 'u', 0)); // the argument takes precedence over the DSN
        $this->assertTrue($reader->isOpen());
        $this->assertSame('1', $reader->get('a'));
        $this->expectException(ReadOnlyException::class);
        $reader->put('a', '3');
    }

    public function testReadonlyRequiresSavedSession(): void
    {
        $id = ($holder = self::$server->client())->new();
        $client = self::$server->client('lock_timeout=0&on_lock_timeout=readonly');
        try {
            $client->open($id, 'rw');
            $this->fail('two clients have the lock');
        } catch (LockTimeoutException) {
            $this->assertFalse($client->isOpen());
        }
        $holder->abort();
    }

    public function testLifetimeOfDsn(): void
    {
        $client = self::$server->client('lifetime=700');
        $client->new();
        $this->assertSame(700, $client->lifetime());
        $client->abort();
        $client->new(800);
        $this->assertSame(800, $client->lifetime());
    }

    public function testWrongCredentialsInFirstRoundTrip(): void
    {
        $c = new Client(str_replace('tcp://', 'tcp://shop:hss_S3cr3t@', self::$server->dsn()) . '/acme');
        try {
            $c->new();
            $this->fail('the credentials are accepted');
        } catch (BadAuthException $e) {
            $this->assertStringNotContainsString('S3cr3t', print_r($e, true));
            $advice = 'check app, tenant and secret in the DSN tcp://shop:xxxxx@' . self::$server->address
                . '/acme, and whether the secret was rotated or revoked';
            $this->assertSame("sessionserver: hello: BADAUTH $e->serverMessage ($advice)", $e->getMessage());
            $this->assertSame(1, $c->roundTrips());
        }
    }

    public function testRefusedByNetwork(): void
    {
        $socket = stream_socket_server('tcp://127.0.0.1:0');
        $address = stream_socket_get_name($socket, false);
        fclose($socket);
        $this->expectException(ConnectionException::class);
        $this->expectExceptionMessage("sessionserver: cannot connect to $address: Connection refused");
        (new Client("tcp://$address"))->ping();
    }

    public function testMissingSocket(): void
    {
        $this->expectException(ConnectionException::class);
        $this->expectExceptionMessage('sessionserver: cannot connect to /nowhere/socket: No such file or directory');
        (new Client('unix:///nowhere/socket'))->ping();
    }

    /** Starts a server that sends one reply to the first request; null: none. Returns its address. */
    private function replying(?string $reply): string
    {
        $code = '$s = stream_socket_server("tcp://127.0.0.1:0");
            echo stream_socket_get_name($s, false), "\n";
            $c = stream_socket_accept($s);
            fread($c, 8192);
            $reply = ' . var_export($reply, true) . ';
            if ($reply === null) { fgets(STDIN); }
            fwrite($c, $reply);';
        $this->fake = new Child(['php', '-r', $code]);
        return $this->fake->readLine();
    }

    private ?Child $fake = null;

    protected function tearDown(): void
    {
        $this->fake = null;
        if ($this->getName() === 'testServerRestart') {
            restore_error_handler();
        }
    }

    public function testSilentServer(): void
    {
        $address = $this->replying(null);
        $this->expectException(TimeoutException::class);
        $this->expectExceptionMessage("sessionserver: $address: no reply within 0.05 s");
        (new Client("tcp://$address?timeout=0.05"))->ping();
    }

    /** @testWith ["HTTP/1.1 400 Bad Request\r\n\r\n", "is not a sessionserver"]
     *            ["$100\r\nhalf", "connection lost in the middle of a reply"]
     *            ["", "connection lost while waiting for a reply"]
     *            ["+PON", "connection lost while waiting for a reply"]
     */
    public function testInvalidReply(string $reply, string $message): void
    {
        $this->expectException(ConnectionException::class);
        $this->expectExceptionMessage($message);
        (new Client('tcp://' . $this->replying($reply)))->ping();
    }

    public function testRejectedConnection(): void
    {
        $this->expectException(UnavailableException::class);
        $this->expectExceptionMessage('sessionserver: UNAVAILABLE too many');
        (new Client('tcp://' . $this->replying("err UNAVAILABLE too many\r\n")))->ping();
    }

    /** A restart is invisible between sessions and ends an open session. */
    public function testServerRestart(): void
    {
        // The error handler ignores the @ operator.
        set_error_handler(static fn (int $level, string $message) => throw new \ErrorException($message));
        $c = self::$server->client();
        $id = $c->new();
        $c->put('a', '1');
        $c->close();
        self::$server->restart();
        $c->open($id, 'u');
        $this->assertSame('1', $c->get('a'));
        self::$server->restart();
        try {
            $c->put('a', '2');
            $this->fail('the session is still open');
        } catch (ConnectionException $e) {
            $this->assertStringContainsString('unsaved changes are lost', $e->getMessage());
        }
        $this->assertFalse($c->isOpen());
        $c->open($id, 'u');
        $this->assertSame('1', $c->get('a'));
    }

    public function testDrainingServer(): void
    {
        $server = new Server();
        $c = $server->client();
        $c->ping();
        $other = $server->client();
        $other->new(); // keeps the server running
        $server->drain();
        $this->expectException(SessionServerException::class); // no other server is left
        $c->new();
    }

    public function testEmptyCallsMakeNoRoundTrip(): void
    {
        $c = self::$server->client();
        $c->new();
        $before = $c->roundTrips();
        $c->putMany([]);
        $this->assertSame([[], 0, []], [$c->getMany(), $c->remove(), $c->pipeline([])]);
        $this->assertSame($before, $c->roundTrips());
        $c->put('a', '1');
        $c->putAll([]); // removes all values
        $this->assertSame([], $c->getAll());
    }

    public function testPersistentClientsHaveSeparateStreams(): void
    {
        foreach ([self::$server->dsn('persistent=1'), self::$server->unixDsn('persistent=1')] as $dsn) {
            [$a, $b] = [new Client($dsn), new Client($dsn)];
            $a->new();
            $b->new();
            $this->assertTrue($a->isOpen() && $b->isOpen());
            $a->abort();
            $b->abort();
        }
    }

    /** A persistent stream with old replies or an open session is replaced. */
    public function testUnusablePersistentStreamIsReplaced(): void
    {
        $dsn = \SessionServer\Dsn::parse(self::$server->dsn('persistent=1&timeout=9'));
        $address = 'tcp://' . self::$server->address . '/' . getmypid() . "-{$dsn->fingerprint()}-0";
        $flags = STREAM_CLIENT_CONNECT | STREAM_CLIENT_PERSISTENT;
        foreach ([
            'old replies' => "*2\r\n$4\r\nping\r\n$3\r\nold\r\n",
            'open session' => "*1\r\n$3\r\nnew\r\n",
            'closed connection' => "*1\r\n$4\r\nquit\r\n",
        ] as $case => $bytes) {
            $stream = stream_socket_client($address, $number, $text, 5, $flags);
            fwrite($stream, "*1\r\n$4\r\nping\r\n");
            $this->assertSame("+PONG\r\n", fgets($stream));
            fwrite($stream, $bytes);
            if ($case === 'open session') {
                fgets($stream);
                fgets($stream);
            }
            $c = new Client($dsn);
            $this->assertSame(32, strlen($c->new()), $case);
            $c->put('a', $case);
            $this->assertSame($case, $c->get('a'));
            $c->disconnect();
        }
    }

    /**
     * Two DSNs that differ only in the secret share a persistent stream. Its name does not depend on the secret, and
     * each reuse ends the rights of the previous user.
     */
    public function testPersistentStreamIsResetAtReuse(): void
    {
        $alice = \SessionServer\Dsn::parse('tcp://shop:hss_alice@h/acme?persistent=1');
        $bob = \SessionServer\Dsn::parse('tcp://shop:hss_bob@h/acme?persistent=1');
        $this->assertSame($alice->fingerprint(), $bob->fingerprint());
        foreach ([
            'tcp://cart:hss_alice@h/acme?persistent=1',
            'tls://shop:hss_alice@h/acme?persistent=1&certfile=c&keyfile=k',
            'tcp://h?persistent=1',
        ] as $other) {
            $this->assertNotSame($alice->fingerprint(), \SessionServer\Dsn::parse($other)->fingerprint());
        }
        $fake = new Child(['php', '-r', <<<'PHP'
            $server = stream_socket_server('tcp://127.0.0.1:0');
            echo stream_socket_get_name($server, false), "\n";
            $stream = stream_socket_accept($server, 60);
            while (($line = fgets($stream)) !== false) {
                for ($words = [], $n = (int) substr($line, 1); $n > 0; $n--) {
                    $words[] = substr(fread($stream, (int) substr(fgets($stream), 1) + 2), 0, -2);
                }
                echo implode(' ', $words), "\n";
                fwrite($stream, $words[0] === 'ping' ? '$' . strlen($words[1]) . "\r\n$words[1]\r\n" : "+OK\r\n");
            }
            PHP]);
        $address = $fake->readLine();
        foreach (['alice', 'bob'] as $user) {
            $client = new Client("tcp://shop:hss_$user@$address/acme?persistent=1");
            $client->ping($user);
            unset($client); // like the end of a request
            if ($user === 'bob') {
                $this->assertMatchesRegularExpression('/^ping [0-9a-f]{16}$/', $fake->readLine());
                $this->assertSame('reset', $fake->readLine());
            }
            $this->assertSame("hello 2 auth acme/shop hss_$user", $fake->readLine());
            $this->assertSame("ping $user", $fake->readLine());
        }
    }

    /** A reset ends the identity and the session of a connection. */
    public function testReset(): void
    {
        $client = self::$server->client();
        $client->call('client', 'setname', 'before');
        $client->new();
        $replies = $client->pipeline([['reset'], ['client', 'getname'], ['put', 'a', '1']]);
        $this->assertSame(['RESET', ''], array_slice($replies, 0, 2));
        $this->assertInstanceOf(\SessionServer\Exception\NoSessionException::class, $replies[2]);
    }

    /** The timeout limits sending too, here to a server that never reads. */
    public function testSendTimeout(): void
    {
        $socket = stream_socket_server('tcp://127.0.0.1:0');
        $client = new Client('tcp://' . stream_socket_get_name($socket, false) . '?timeout=1');
        $this->expectException(ConnectionException::class);
        $client->put('key', str_repeat('x', 64 << 20));
    }
}
