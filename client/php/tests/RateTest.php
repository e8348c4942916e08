<?php

declare(strict_types=1);

namespace SessionServer\Tests;

use SessionServer\Exception\RateLimitedException;

/**
 * An app beyond its rate limit, whose requests wait.
 */
final class RateTest extends SessionTestCase
{
    /** Exhausts the rate limit. */
    private const DRAIN = '(new SessionServer\Client(ini_get("session.save_path")))
        ->pipeline(array_fill(0, 20, ["ping"]));';

    public static function setUpBeforeClass(): void
    {
        self::$server = new Server('rates: {app: {per_second: 100, burst: 20}}');
    }

    /** Returns a server whose rate limit refills slowly, so that the speed of the machine does not matter. */
    private static function slow(): Server
    {
        return new Server('rates: {app: {per_second: 1, burst: 20}}');
    }

    public function testRequestsWait(): void
    {
        $server = self::slow();
        $client = $server->client();
        $this->assertSame(array_fill(0, 22, 'PONG'), $client->pipeline(array_fill(0, 22, ['ping'])));
        $this->assertGreaterThan(1, $client->roundTrips());

        $client = self::$server->client();
        $id = $client->new();
        $client->putMany(['a' => '1', 'b' => '2']);
        $client->close();
        $client->pipeline(array_fill(0, 20, ['ping']));
        $this->assertSame(['OK', ['a', '1', 'b', '2']], $client->pipeline([['open', $id, 's'], ['get_all']]));
    }

    public function testWaitIsLimitedByTimeout(): void
    {
        $server = self::slow();
        $server->client()->pipeline(array_fill(0, 20, ['ping']));
        try {
            $replies = $server->client('timeout=2')->pipeline(array_fill(0, 20, ['ping']));
            $refusal = end($replies);
        } catch (RateLimitedException $refusal) { // for the connection
        }
        $this->assertInstanceOf(RateLimitedException::class, $refusal);
        $this->assertGreaterThan(0, $refusal->retryIn());
        $this->assertNull((new RateLimitedException('RATELIMITED', 'too many requests'))->retryIn());
    }

    /**
     * @testWith ["format=php"]
     *           ["format=json"]
     *           ["persistent=1"]
     */
    public function testSessionsWait(string $query): void
    {
        $read = 'session_start(["read_and_close" => true]);';
        foreach ([
            self::DRAIN . 'session_start(); $_SESSION["n"] = 1;' => ['n' => 1],
            // A rate limit refuses the change but never the end of the session behind it.
            'session_start();' . self::DRAIN . '$_SESSION["n"] = 2; session_write_close();' => ['n' => 2],
            'session_start();' . self::DRAIN . '$_SESSION["m"] = $_SESSION["n"]; unset($_SESSION["n"]);
                session_write_close();' => ['m' => 2],
            'session_start();' . self::DRAIN . 'session_regenerate_id(true); $_SESSION["n"] = 3;
                session_write_close();' => ['m' => 2, 'n' => 3],
            'session_start();' . self::DRAIN . 'session_destroy();' => [],
        ] as $code => $session) {
            $r = $this->request($code, $id ??= '', $query);
            $id = $r->id ?: $id;
            $this->assertSame($session, $this->request($read, $id, $query)->session, $code);
        }
        $code = 'session_start();' . self::DRAIN . '$_SESSION["n"] = 4; session_write_close();';
        $id = $this->request($code, '', $query)->id; // a new session
        $this->assertSame(['n' => 4], $this->request($read, $id, $query)->session);
    }
}
