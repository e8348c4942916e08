<?php

declare(strict_types=1);

namespace SessionServer\Tests;

use PHPUnit\Framework\TestCase;
use SessionServer\Exception\NotFoundException;

/**
 * Tests of sessions on a server that the tests of a class share.
 */
abstract class SessionTestCase extends TestCase
{
    protected static ?Server $server;

    public static function setUpBeforeClass(): void
    {
        self::$server = new Server();
    }

    public static function tearDownAfterClass(): void
    {
        self::$server = null;
    }

    protected function setUp(): void
    {
        self::$server->mark();
    }

    /** Runs a request that must end well and print nothing. */
    protected function request(string $code, string $cookie = '', string $query = '', array $ini = []): Result
    {
        $result = $this->start($code, $cookie, $query, $ini)->end();
        $this->assertSame('', $result->printed);
        return $result;
    }

    protected function start(string $code, string $cookie = '', string $query = '', array $ini = []): Request
    {
        return new Request(self::$server->dsn($query), $code, $cookie, $ini);
    }

    /** Makes a session and answers its id. */
    protected function session(string $code = '$_SESSION["n"] = 1;', string $query = ''): string
    {
        return $this->request("session_start(); $code", '', $query)->id;
    }

    /** @return array<string> what the server has saved */
    protected function stored(string $id): array
    {
        $client = self::$server->client();
        $client->open($id, 's');
        return $client->getAll();
    }

    protected function version(string $id): int
    {
        $client = self::$server->client();
        $client->open($id, 's');
        return $client->stat()['version'];
    }

    protected function assertGone(string $id): void
    {
        $client = self::$server->client();
        try {
            $client->open($id, 'u', 0);
        } catch (NotFoundException) {
            $this->addToAssertionCount(1);
            return;
        }
        $this->fail('there is a session that should not be');
    }

    /** Nobody has the lock. */
    protected function assertFree(string $id): void
    {
        $client = self::$server->client();
        $client->open($id, 'u', 5); // the server sees at once that a client is gone, but who tells the server of a killed one is the kernel
        $client->abort();
        $this->addToAssertionCount(1);
    }
}
