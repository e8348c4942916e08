<?php

declare(strict_types=1);

namespace SessionServer\Tests;

use SessionServer\Client;
use SessionServer\Exception\ConnectionException;
use SessionServer\Exception\DsnException;
use SessionServer\Exception\ServerException;

/**
 * TLS, with authorities and certificates for the test, and a proxy that terminates TLS in front of the server.
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
        self::$address = self::$proxy->readLine();
    }

    public static function tearDownAfterClass(): void
    {
        self::$proxy->kill();
        parent::tearDownAfterClass();
    }

    private function dsn(string $host, string $ca, string $parameters = '', ?string $address = null): string
    {
        $address = str_replace('127.0.0.1', $host, $address ?? self::$address);
        return "tls://$address?cafile=" . self::$dir . "/$ca.pem$parameters";
    }

    /** Returns a DSN with the client's certificate and a tenant. */
    private function certificateDsn(string $tenant, string $parameters = ''): string
    {
        $certificate = '&certfile=' . self::$dir . '/client.pem&keyfile=' . self::$dir . '/client.key';
        return str_replace('?', "/$tenant?", $this->dsn('localhost', 'ca', $certificate . $parameters));
    }

    public function testSession(): void
    {
        $code = 'session_start(); $_SESSION["s"] = str_repeat("\0\r\n\xff", 250_000); session_write_close();
            session_start(); return md5($_SESSION["s"]);';
        foreach (['', '&persistent=1'] as $parameter) {
            $r = (new Request($this->dsn('localhost', 'ca', $parameter), $code))->finish();
            $this->assertSame([md5(str_repeat("\0\r\n\xff", 250_000)), ''], [$r->result, $r->printed]);
        }
    }

    /** The certificate must be valid for the host in the DSN, at any of its addresses. */
    public function testHostWithSeveralAddresses(): void
    {
        $resolve = static fn () => ['127.0.0.3', '127.0.0.1'];
        foreach (['', '&persistent=1', '&persistent=1'] as $parameter) {
            $client = new Client($this->dsn('localhost', 'ca', $parameter), false, $resolve);
            $this->assertSame('PONG', $client->ping());
        }
        $this->expectException(ConnectionException::class);
        $this->expectExceptionMessage("did not match expected name `another.test'");
        (new Client($this->dsn('another.test', 'ca'), false, $resolve))->ping();
    }

    public function testClientCertificate(): void
    {
        $proxy = new Child(['php', __DIR__ . '/tlsproxy.php', self::$dir, self::$server->address, 'certificates']);
        $address = $proxy->readLine();
        $certificate = '&certfile=' . self::$dir . '/client.pem&keyfile=' . self::$dir . '/client.key';
        (new Client($this->dsn('localhost', 'ca', $certificate, $address)))->ping();
        $this->assertSame('client', $proxy->readLine()); // the proxy prints the common name
        $this->expectException(ConnectionException::class);
        (new Client($this->dsn('localhost', 'ca', '', $address)))->ping();
    }

    public function testEncryptedKey(): void
    {
        $key = openssl_pkey_get_private((string) file_get_contents(self::$dir . '/client.key'));
        openssl_pkey_export_to_file($key, self::$dir . '/encrypted.key', 'passphrase');
        $certificate = '&certfile=' . self::$dir . '/client.pem&keyfile=' . self::$dir . '/encrypted.key';
        $this->expectException(ConnectionException::class);
        $this->expectExceptionMessage('encrypted.key is encrypted with a passphrase (write a key without one: ');
        (new Client($this->dsn('localhost', 'ca', $certificate)))->ping();
    }

    /** A certificate of another tenant than the DSN's is refused, and nothing is saved. */
    public function testTenantOfCertificate(): void
    {
        $creator = self::$server->client();
        $id = $creator->new();
        $creator->close();
        foreach (['', '&persistent=1'] as $parameter) {
            for ($request = 0; $request < 2; $request++) { // the second one reuses the persistent stream
                $client = new Client($this->certificateDsn('dev', $parameter));
                $client->open($id);
                $this->assertSame([], $client->keys());
                $client->abort();
                $this->assertSame(3, $client->roundTrips());
                unset($client);
                $client = new Client($this->certificateDsn('dev', $parameter));
                $replies = $client->pipeline([['open', $id], ['put', 'a', '1'], ['close']]);
                $this->assertNotInstanceOf(ServerException::class, $replies[2]);
                $this->assertSame(2, $client->roundTrips()); // requests that save wait until the tenant is verified
                unset($client);
                self::$server->client()->pipeline([['open', $id], ['remove', 'a'], ['close']]);
            }
            foreach ([
                [['new']],
                [['open', $id], ['put', 'b', '1'], ['close']],
                [['OPEN', $id, 'u'], ['destroy']],
            ] as $requests) {
                $client = new Client($this->certificateDsn('acme', $parameter));
                try {
                    $client->pipeline($requests);
                    $this->fail('the other tenant is accepted');
                } catch (DsnException $e) {
                    $message = 'sessionserver: DSN: tenant: the certificate in certfile authenticates for the tenant'
                        . ' dev and the DSN has the tenant acme, nothing was saved (correct one of them)';
                    $this->assertSame($message, $e->getMessage());
                }
                $this->assertSame([false, 1], [$client->isOpen(), $client->roundTrips()]);
            }
            $this->assertSame([], $this->stored($id));
        }
    }

    public function testSaveHandlerRefusesOtherTenant(): void
    {
        $code = 'try { session_start(); } catch (SessionServer\Exception\DsnException $e) { return $e->problems; }
            $_SESSION["n"] = 1; session_write_close(); return $handler->roundTrips();';
        $good = (new Request($this->certificateDsn('dev'), $code))->finish();
        $this->assertSame(2, $good->result);
        $this->assertSame(2, (new Request($this->certificateDsn('dev'), $code, $good->id))->finish()->result);
        foreach (['', $good->id] as $cookie) {
            $problems = (new Request($this->certificateDsn('acme'), $code, $cookie))->finish()->result;
            $this->assertStringContainsString('the DSN has the tenant acme', $problems[0]);
        }
    }

    /** @return array<array{string, ?string, string}> */
    public function untrusted(): array
    {
        $failed = 'certificate verify failed; Failed to enable crypto; Unable to connect to tls://%s (Unknown error) ';
        return [
            'another authority' => ['localhost', 'other-ca', $failed
                . '(the certificate has expired, or its authority is not in the file of cafile= in the DSN)'],
            "the system's authorities" => ['localhost', null, $failed
                . '(the certificate has expired, or the system does not trust its authority: then set cafile= in the'
                . " DSN to the authority's PEM file)"],
            'another name' => ['127.0.0.1', 'ca', "did not match expected name `127.0.0.1'; Failed to enable crypto; "
                . 'Unable to connect to tls://%s (Unknown error) '
                . "(the host in the DSN must be one of the names in the server's certificate)"],
            'missing file' => ['localhost', 'nothing', 'failed loading cafile stream'],
        ];
    }

    /** @dataProvider untrusted */
    public function testUntrusted(string $host, ?string $ca, string $message): void
    {
        $address = str_replace('127.0.0.1', $host, self::$address);
        try {
            (new Client($ca === null ? "tls://$address" : $this->dsn($host, $ca)))->ping();
            $this->fail('the server is trusted');
        } catch (ConnectionException $e) {
            $this->assertStringStartsWith("sessionserver: cannot connect to $address: ", $e->getMessage());
            $this->assertStringContainsString(sprintf($message, $address), $e->getMessage());
            $this->assertStringNotContainsString("\n", $e->getMessage());
        }
    }

    public function testServerWithoutTls(): void
    {
        $this->expectException(ConnectionException::class);
        (new Client('tls://' . self::$server->address))->ping();
    }
}
