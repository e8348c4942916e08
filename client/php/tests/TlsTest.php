<?php

declare(strict_types=1);

namespace SessionServer\Tests;

use SessionServer\Client;
use SessionServer\Exception\ConnectionException;
use SessionServer\Exception\DsnException;
use SessionServer\Exception\ServerException;

/**
 * TLS, with authorities and certificates made here, and a proxy that ends it before a server without.
 */
final class TlsTest extends SessionTestCase
{
    private static string $dir;
    private static Child $proxy;
    private static string $address;

    public static function setUpBeforeClass(): void
    {
        parent::setUpBeforeClass();
        self::$dir = self::$server->dir . '/tls';
        mkdir(self::$dir);
        [$ca, $caKey] = Certificate::make(self::$dir, 'ca', null, null, 'v3_ca');
        Certificate::make(self::$dir, 'server', $ca, $caKey, 'server');
        Certificate::make(self::$dir, 'client', $ca, $caKey, 'client');
        Certificate::make(self::$dir, 'other-ca', null, null, 'v3_ca');
        self::$proxy = new Child(['php', __DIR__ . '/tlsproxy.php', self::$dir, self::$server->address]);
        self::$address = self::$proxy->line();
    }

    public static function tearDownAfterClass(): void
    {
        self::$proxy->kill();
        parent::tearDownAfterClass();
    }

    private function dsn(string $host, string $ca, string $more = '', ?string $address = null): string
    {
        return 'tls://' . str_replace('127.0.0.1', $host, $address ?? self::$address) . '?cafile=' . self::$dir . "/$ca.pem" . $more;
    }

    public function testSession(): void
    {
        foreach (['', '&persistent=1'] as $more) {
            $r = (new Request($this->dsn('localhost', 'ca', $more), 'session_start(); $_SESSION["s"] = str_repeat("\0\r\n\xff", 250_000); session_write_close();
                session_start(); return md5($_SESSION["s"]);'))->end();
            $this->assertSame([md5(str_repeat("\0\r\n\xff", 250_000)), ''], [$r->result, $r->printed]);
        }
    }

    /** The certificate is that of the host in the DSN, whichever of its addresses answers. */
    public function testTheNameOfAHostWithSeveralAddresses(): void
    {
        foreach (['', '&persistent=1', '&persistent=1'] as $more) {
            $client = new Client($this->dsn('localhost', 'ca', $more), false, static fn () => ['127.0.0.3', '127.0.0.1']);
            $this->assertSame('PONG', $client->ping());
        }
        $this->expectException(ConnectionException::class);
        $this->expectExceptionMessage("did not match expected name `another.test'");
        (new Client($this->dsn('another.test', 'ca'), false, static fn () => ['127.0.0.3', '127.0.0.1']))->ping();
    }

    public function testClientCertificate(): void
    {
        $proxy = new Child(['php', __DIR__ . '/tlsproxy.php', self::$dir, self::$server->address, 'certificates']);
        $address = $proxy->line();
        $certificate = '&certfile=' . self::$dir . '/client.pem&keyfile=' . self::$dir . '/client.key';
        (new Client($this->dsn('localhost', 'ca', $certificate, $address)))->ping();
        $this->assertSame('client', $proxy->line()); // the proxy tells whose it is
        $this->expectException(ConnectionException::class);
        (new Client($this->dsn('localhost', 'ca', '', $address)))->ping();
    }

    public function testAnEncryptedKey(): void
    {
        $key = openssl_pkey_get_private((string) file_get_contents(self::$dir . '/client.key'));
        openssl_pkey_export_to_file($key, self::$dir . '/encrypted.key', 'passphrase');
        $certificate = '&certfile=' . self::$dir . '/client.pem&keyfile=' . self::$dir . '/encrypted.key';
        $this->expectException(ConnectionException::class);
        $this->expectExceptionMessage('encrypted.key is encrypted with a passphrase (write a key without one: openssl ');
        (new Client($this->dsn('localhost', 'ca', $certificate)))->ping();
    }

    /** The tenant is the one of the certificate. If the DSN names another one, nothing is done there. */
    public function testTheTenantOfACertificate(): void
    {
        $dsn = fn (string $tenant, string $more = '') => str_replace('?', "/$tenant?", $this->dsn('localhost', 'ca', '&certfile=' . self::$dir
            . '/client.pem&keyfile=' . self::$dir . "/client.key$more"));
        $made = self::$server->client();
        $id = $made->new();
        $made->close();
        foreach (['', '&persistent=1'] as $more) {
            for ($request = 0; $request < 2; $request++) { // the second one has the persistent stream of the first one
                $client = new Client($dsn('dev', $more));
                $client->open($id);
                $this->assertSame([], $client->keys());
                $client->abort();
                $this->assertSame(3, $client->roundTrips());
                unset($client);
                $client = new Client($dsn('dev', $more));
                $this->assertNotInstanceOf(ServerException::class, $client->pipeline([['open', $id], ['put', 'a', '1'], ['close']])[2]);
                $this->assertSame(2, $client->roundTrips()); // it saves: the tenant is asked for before
                unset($client);
                self::$server->client()->pipeline([['open', $id], ['remove', 'a'], ['close']]);
            }
            foreach ([[['new']], [['open', $id], ['put', 'b', '1'], ['close']], [['OPEN', $id, 'u'], ['destroy']]] as $requests) {
                $client = new Client($dsn('acme', $more));
                try {
                    $client->pipeline($requests);
                    $this->fail('another tenant is taken');
                } catch (DsnException $e) {
                    $this->assertSame('sessionserver: DSN: tenant: the certificate in certfile authenticates for the tenant dev'
                        . ' and the DSN has the tenant acme, nothing was saved (correct one of them)', $e->getMessage());
                }
                $this->assertSame([false, 1], [$client->isOpen(), $client->roundTrips()]);
            }
            $this->assertSame([], $this->stored($id));
        }
    }

    public function testTheSaveHandlerTellsOfAnotherTenant(): void
    {
        $dsn = fn (string $tenant) => str_replace('?', "/$tenant?", $this->dsn('localhost', 'ca', '&certfile=' . self::$dir . '/client.pem&keyfile=' . self::$dir
            . '/client.key'));
        $code = 'try { session_start(); } catch (SessionServer\Exception\DsnException $e) { return $e->problems; } $_SESSION["n"] = 1; session_write_close(); return $handler->roundTrips();';
        $good = (new Request($dsn('dev'), $code))->end();
        $this->assertSame(2, $good->result);
        $this->assertSame(2, (new Request($dsn('dev'), $code, $good->id))->end()->result);
        foreach (['', $good->id] as $cookie) {
            $this->assertStringContainsString('the DSN has the tenant acme', (new Request($dsn('acme'), $code, $cookie))->end()->result[0]);
        }
    }

    /** @return array<array{string, ?string, string}> */
    public function untrusted(): array
    {
        return [
            'another authority' => ['localhost', 'other-ca', 'certificate verify failed; Failed to enable crypto; Unable to connect to tls://%s (Unknown error) '
                . "(the certificate has expired, or its authority is not in the file of cafile= in the DSN)"],
            "the system's authorities" => ['localhost', null, 'certificate verify failed; Failed to enable crypto; Unable to connect to tls://%s (Unknown error) '
                . "(the certificate has expired, or the system does not trust its authority: then set cafile= in the DSN to the authority's PEM file)"],
            'another name' => ['127.0.0.1', 'ca', "did not match expected name `127.0.0.1'; Failed to enable crypto; Unable to connect to tls://%s (Unknown error) "
                . "(the host in the DSN must be one of the names in the server's certificate)"],
            'no such file' => ['localhost', 'nothing', 'failed loading cafile stream'],
        ];
    }

    /** @dataProvider untrusted */
    public function testUntrusted(string $host, ?string $ca, string $message): void
    {
        $address = str_replace('127.0.0.1', $host, self::$address);
        try {
            (new Client($ca === null ? "tls://$address" : $this->dsn($host, $ca)))->ping();
            $this->fail('it is trusted');
        } catch (ConnectionException $e) {
            $this->assertStringStartsWith("sessionserver: cannot connect to $address: ", $e->getMessage());
            $this->assertStringContainsString(sprintf($message, $address), $e->getMessage());
            $this->assertStringNotContainsString("\n", $e->getMessage());
        }
    }

    public function testAServerWithoutTls(): void
    {
        $this->expectException(ConnectionException::class);
        (new Client('tls://' . self::$server->address))->ping();
    }
}
