<?php

declare(strict_types=1);

namespace SessionServer\Tests;

use SessionServer\Client;
use SessionServer\Dsn;
use SessionServer\Exception\ConnectionException;

/**
 * Hosts with several addresses, one of which is the server's.
 */
final class AddressesTest extends SessionTestCase
{
    /** Nobody listens there, on any port of a server of the tests. */
    private const REFUSED = '127.0.0.3';

    private const SILENT = '127.0.0.2';

    /** @var list<resource> */
    private array $silent = [];

    /** Listens with a queue for connections that is full: further ones are neither made nor refused. */
    private function listenSilently(): void
    {
        $address = str_replace('127.0.0.1', self::SILENT, self::$server->address);
        $context = stream_context_create(['socket' => ['backlog' => 0]]);
        $this->silent[] = stream_socket_server("tcp://$address", $number, $text, STREAM_SERVER_BIND | STREAM_SERVER_LISTEN, $context);
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
        return ['a stream of the request' => ['timeout=2'], 'a persistent stream' => ['timeout=2&persistent=1']];
    }

    /** @dataProvider queries */
    public function testTheFirstAddressIsDead(string $query): void
    {
        $this->listenSilently();
        $ids = [];
        foreach ([[self::REFUSED, '127.0.0.1'], [self::SILENT, '127.0.0.1'], ['::1', self::REFUSED, self::SILENT, '127.0.0.1'],
            ['127.0.0.1', self::SILENT]] as $addresses) {
            $client = $this->client($addresses, $query);
            $this->assertSame(32, strlen($client->new()));
            $ids[] = $client->call('client', 'id');
        }
        $this->assertCount(4, array_unique($ids));
    }

    public function testNoAddressAnswers(): void
    {
        $this->listenSilently();
        try {
            $this->client([self::SILENT, self::REFUSED], 'timeout=0.4')->ping();
            $this->fail('somebody answers');
        } catch (ConnectionException $e) {
            $port = explode(':', self::$server->address)[1];
            $this->assertSame("sessionserver: cannot connect to sessions.test:$port: 127.0.0.2: Connection timed out; "
                . '127.0.0.3: Connection refused', $e->getMessage());
        }
    }

    /** The next request has the stream of the address that answered, and does not try the dead one before. */
    public function testAPersistentStreamOfTheSecondAddressIsFoundAgain(): void
    {
        $web = new WebServer(str_replace('127.0.0.1', 'sessions.test', self::$server->dsn('persistent=1&timeout=3')));
        $code = 'return (new SessionServer\Client(SessionServer\Dsn::load(ini_get("session.save_path")), false, fn () => ["127.0.0.2", "127.0.0.1"]))
            ->call("client", "id");';
        $first = $web->ask($code);
        $mute = stream_socket_server('tcp://' . str_replace('127.0.0.1', self::SILENT, self::$server->address)); // it would be connected to
        $this->assertSame($first, $web->ask($code));
        fclose($mute);
        self::$server->restart();
        $this->assertNotNull($web->ask($code));
    }

    /** The system knows localhost by one address or two; the stream is found again either way. */
    public function testANameOfTheSystem(): void
    {
        $dsn = str_replace('127.0.0.1', 'localhost', self::$server->dsn('persistent=1'));
        $web = new WebServer($dsn);
        $code = 'return (new SessionServer\Client(SessionServer\Dsn::load(ini_get("session.save_path"))))->call("client", "id");';
        $first = $web->ask($code);
        $this->assertSame($first, $web->ask($code));
        $this->assertSame('PONG', (new Client(str_replace('?persistent=1', '', $dsn)))->ping());
        $this->expectException(ConnectionException::class);
        $this->expectExceptionMessage('sessionserver: cannot connect to nobody.invalid:9090: ');
        (new Client(Dsn::parse('tcp://nobody.invalid')))->ping();
    }
}
