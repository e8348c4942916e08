<?php

declare(strict_types=1);

namespace SessionServer\Tests;

use PHPUnit\Framework\TestCase;
use SessionServer\Exception\NotFoundException;

/**
 * The base of tests with a server that the tests of a class share.
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

    /** Runs a request that must succeed and print nothing. */
    protected function request(string $code, string $cookie = '', string $query = '', array $ini = []): Result
    {
        $result = $this->start($code, $cookie, $query, $ini)->finish();
        $this->assertSame('', $result->printed);
        return $result;
    }

    protected function start(string $code, string $cookie = '', string $query = '', array $ini = []): Request
    {
        return new Request(self::$server->dsn($query), $code, $cookie, $ini);
    }

    /** Creates a session and returns its id. */
    protected function session(string $code = '$_SESSION["n"] = 1;', string $query = ''): string
    {
        return $this->request("session_start(); $code", '', $query)->id;
    }

    /** @return array<string> the values saved on the server */
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

    /** Asserts that the session does not exist. */
    protected function assertGone(string $id): void
    {
        $client = self::$server->client();
        try {
            $client->open($id, 'u', 0);
        } catch (NotFoundException) {
            $this->addToAssertionCount(1);
            return;
        }
        $this->fail('the session exists');
    }

    /** Asserts that the session is not locked. */
    protected function assertFree(string $id): void
    {
        $client = self::$server->client();
        $client->open($id, 'u', 5); // the system may take a moment to close the connections of a killed process
        $client->abort();
        $this->addToAssertionCount(1);
    }
}
