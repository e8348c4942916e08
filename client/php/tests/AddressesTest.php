<?php

declare(strict_types=1);

namespace SessionServer\Tests;

use SessionServer\Client;
use SessionServer\Dsn;
use SessionServer\Exception\ConnectionException;

/**
 * Hosts with several addresses, one of which belongs to the server.
 */
final class AddressesTest extends SessionTestCase
{
    /** An address that refuses connections. */
    private const REFUSED = '127.0.0.3';

    /** An address for listenSilently. */
    private const SILENT = '127.0.0.2';

    /** @var list<resource> */
    private array $silent = [];

    /** Listens with a full queue, so that further connections are neither accepted nor refused. */
    private function listenSilently(): void
    {
        $address = str_replace('127.0.0.1', self::SILENT, self::$server->address);
        $context = stream_context_create(['socket' => ['backlog' => 0]]);
        $flags = STREAM_SERVER_BIND | STREAM_SERVER_LISTEN;
        $this->silent[] = stream_socket_server("tcp://$address", $number, $text, $flags, $context);
        do {
            $stream = @stream_socket_client("tcp://$address", $number, $text, 0.2);
            $this->silent[] = $stream;
        } while ($stream !== false);
    }

    protected function tearDown(): void
    {
        $this->silent = [];
    }

    /** @param list<string> $addresses */
    private function client(array $addresses, string $query = ''): Client
    {
        $dsn = str_replace('127.0.0.1', 'sessions.test', self::$server->dsn($query));
        return new Client($dsn, false, static fn (string $host) => $host === 'sessions.test' ? $addresses : []);
    }

    /** @return array<array{string}> */
    public function queries(): array
    {
        return ['not persistent' => ['timeout=2'], 'persistent' => ['timeout=2&persistent=1']];
    }

    /** @dataProvider queries */
    public function testDeadFirstAddress(string $query): void
    {
        $this->listenSilently();
        $ids = [];
        foreach ([
            [self::REFUSED, '127.0.0.1'],
            [self::SILENT, '127.0.0.1'],
            ['::1', self::REFUSED, self::SILENT, '127.0.0.1'],
            ['127.0.0.1', self::SILENT],
        ] as $addresses) {
            $client = $this->client($addresses, $query);
            $this->assertSame(32, strlen($client->new()));
            $ids[] = $client->call('client', 'id');
        }
        $this->assertCount(4, array_unique($ids));
    }

    public function testAllAddressesDead(): void
    {
        $this->listenSilently();
        try {
            $this->client([self::SILENT, self::REFUSED], 'timeout=0.4')->ping();
            $this->fail('ping succeeded');
        } catch (ConnectionException $e) {
            $port = explode(':', self::$server->address)[1];
            $this->assertSame("sessionserver: cannot connect to sessions.test:$port: 127.0.0.2: Connection timed out;"
                . ' 127.0.0.3: Connection refused', $e->getMessage());
        }
    }

    /** The next request reuses the stream to the second address and does not try the dead first one. */
    public function testPersistentStreamToSecondAddressIsReused(): void
    {
        $web = new WebServer(str_replace('127.0.0.1', 'sessions.test', self::$server->dsn('persistent=1&timeout=3')));
        $code = 'return (new SessionServer\Client(SessionServer\Dsn::load(ini_get("session.save_path")), false,
            fn () => ["127.0.0.2", "127.0.0.1"]))->call("client", "id");';
        $first = $web->evaluate($code);
        // A client that tries the first address would connect to this socket.
        $socket = stream_socket_server('tcp://' . str_replace('127.0.0.1', self::SILENT, self::$server->address));
        $this->assertSame($first, $web->evaluate($code));
        fclose($socket);
        self::$server->restart();
        $this->assertNotNull($web->evaluate($code));
    }

    /** localhost has one address or two, depending on the system. The stream is reused in both cases. */
    public function testNameResolvedBySystem(): void
    {
        $dsn = str_replace('127.0.0.1', 'localhost', self::$server->dsn('persistent=1'));
        $web = new WebServer($dsn);
        $code = 'return (new SessionServer\Client(SessionServer\Dsn::load(ini_get("session.save_path"))))
            ->call("client", "id");';
        $first = $web->evaluate($code);
        $this->assertSame($first, $web->evaluate($code));
        $this->assertSame('PONG', (new Client(str_replace('?persistent=1', '', $dsn)))->ping());
        $this->expectException(ConnectionException::class);
        $this->expectExceptionMessage('sessionserver: cannot connect to unknown.invalid:9090: ');
        (new Client(Dsn::parse('tcp://unknown.invalid')))->ping();
    }
}
