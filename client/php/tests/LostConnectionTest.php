<?php

declare(strict_types=1);

namespace SessionServer\Tests;

use SessionServer\Exception\ConnectionException;

/**
 * Connections that break during an open session, which loses its lock.
 */
final class LostConnectionTest extends SessionTestCase
{
    private const SAVE = 'try { session_write_close(); }
        catch (SessionServer\Exception\SessionServerException $e) { return $e->getMessage(); }';

    public static function setUpBeforeClass(): void
    {
        self::$server = new Server('session: {strict: false}');
    }

    /** @return array<array{string}> */
    public function queries(): array
    {
        return ['php' => ['format=php'], 'json' => ['format=json'], 'persistent' => ['persistent=1']];
    }

    /** Runs a request whose connection breaks at gate("in"). Runs $meanwhile before the request continues. */
    private function interrupted(string $code, string $cookie, string $query, ?\Closure $meanwhile = null): Result
    {
        $request = $this->start("session_start(); $code", $cookie, $query)->await('in');
        self::$server->restart();
        $meanwhile !== null && $meanwhile();
        return $request->resume()->finish();
    }

    private function change(string $id, string $query, string $code): \Closure
    {
        return fn () => $this->request("session_start(); $code", $id, $query);
    }

    /** @dataProvider queries */
    public function testSave(string $query): void
    {
        $id = $this->session('$_SESSION = ["n" => 1, "more" => 1];', $query);
        $code = '$_SESSION["n"]++; unset($_SESSION["more"]); gate("in");' . self::SAVE;
        $result = $this->interrupted($code, $id, $query);
        $this->assertSame([null, ''], [$result->result, $result->printed]);
        $this->assertSame(['n' => 2], $this->request('session_start(); return $_SESSION;', $id, $query)->result);
        $this->assertFree($id);
    }

    /**
     * A new session keeps the id in the visitor's cookie, unless the tenant is strict.
     *
     * @dataProvider queries
     */
    public function testFirstSave(string $query): void
    {
        $first = '$_SESSION["n"] = 1; gate("in");' . self::SAVE;
        $result = $this->interrupted($first, '', $query);
        $this->assertNull($result->result);
        $this->assertSame(1, $this->request('session_start(); return $_SESSION["n"];', $result->id, $query)->result);
        $lenient = self::$server;
        self::$server = new Server('session: {strict: true}');
        try {
            $result = $this->interrupted($first, '', $query);
            $this->assertStringContainsString('unsaved changes are lost', $result->result);
            $this->assertGone($result->id);
        } finally {
            self::$server = $lenient;
        }
    }

    /** @dataProvider queries */
    public function testSaveAfterAnotherRequest(string $query): void
    {
        $id = $this->session('$_SESSION["n"] = 1;', $query);
        $code = '$_SESSION["n"]++; gate("in");' . self::SAVE;
        $result = $this->interrupted($code, $id, $query, $this->change($id, $query, '$_SESSION["n"] = 7;'));
        $this->assertSame('sessionserver: LOCKLOST another request changed the session after the connection was lost,'
            . ' nothing was saved; start the session again', $result->result);
        $this->assertSame(7, $this->request('session_start(); return $_SESSION["n"];', $id, $query)->result);
        foreach (['read only' => 'return $_SESSION;', 'equal change' => '$_SESSION["n"] = 8;'] as $case => $other) {
            $result = $this->interrupted($code, $id, $query, $this->change($id, $query, $other));
            $this->assertNull($result->result, $case);
            $this->assertSame(8, $this->request('session_start(); return $_SESSION["n"];', $id, $query)->result, $case);
            $this->request('session_start(); $_SESSION["n"] = 7;', $id, $query);
        }
    }

    /** @dataProvider queries */
    public function testSaveOfEndedSession(string $query): void
    {
        $id = $this->session('$_SESSION["n"] = 1;', $query);
        $code = '$_SESSION["n"]++; gate("in");' . self::SAVE;
        $result = $this->interrupted($code, $id, $query, $this->change($id, $query, 'session_destroy();'));
        $this->assertStringContainsString('unsaved changes are lost', $result->result);
        $this->assertGone($id);
    }

    /** @dataProvider queries */
    public function testDestroy(string $query): void
    {
        $id = $this->session('$_SESSION["n"] = 1;', $query);
        foreach ([null, fn () => $this->assertGone($id)] as $meanwhile) {
            $result = $this->interrupted('gate("in"); return session_destroy();', $id, $query, $meanwhile);
            $this->assertSame([true, ''], [$result->result, $result->printed]);
            $this->assertGone($id);
        }
    }

    /** @dataProvider queries */
    public function testRegenerate(string $query): void
    {
        $id = $this->session('$_SESSION["n"] = 1;', $query);
        $code = 'gate("in"); session_regenerate_id(true); $_SESSION["n"]++;' . self::SAVE;
        $result = $this->interrupted($code, $id, $query);
        $this->assertSame([null, ''], [$result->result, $result->printed]);
        $this->assertNotSame($id, $result->id);
        foreach ([$id, $result->id] as $either) {
            $this->assertSame(2, $this->request('session_start(); return $_SESSION["n"];', $either, $query)->result);
        }
    }

    public function testRegenerateAfterAnotherRequest(): void
    {
        $id = $this->session();
        $code = 'gate("in"); try { session_regenerate_id(true); } catch (Exception $e) { return $e->getMessage(); }';
        $result = $this->interrupted($code, $id, '', $this->change($id, '', '$_SESSION["n"] = 7;'));
        $this->assertStringContainsString('another request changed the session', $result->result);
        $this->assertSame(['php' => 'n|i:7;'], $this->stored($id));
    }

    /** A timeout is not followed by a retry, since the server still holds the lock. */
    public function testDeadPath(): void
    {
        $proxy = new Child(['php', __DIR__ . '/proxy.php', self::$server->address]);
        $dsn = 'tcp://' . $proxy->readLine() . '?timeout=0.5';
        foreach (['session_write_close();', 'session_destroy();', 'session_regenerate_id(true);'] as $end) {
            $code = 'session_start(); $_SESSION["n"]++; gate("in");
                try { ' . $end . ' } catch (Exception $e) { return $e->getMessage(); }';
            $request = (new Request($dsn, $code, $this->session()))->await('in');
            $proxy->send('freeze');
            $this->assertSame('frozen', $proxy->readLine());
            $this->assertStringContainsString('no reply within 0.5 s', $request->resume()->finish()->result);
        }
    }

    public function testClient(): void
    {
        $client = self::$server->client();
        $saved = $client->new();
        $client->put('a', '1');
        $client->commit();
        $client->close();
        $client->open($saved);
        self::$server->restart();
        $client->destroy();
        $this->assertGone($saved);
        $this->assertFalse($client->isOpen());

        $client->open($id = str_repeat('b', 32), 'rw');
        self::$server->restart();
        $client->destroy(); // the session was never saved
        $this->assertGone($id);

        $client->open($id, 'rw');
        self::$server->restart();
        try {
            $client->close();
            $this->fail('close succeeded');
        } catch (ConnectionException $e) {
            $this->assertStringContainsString('unsaved changes are lost', $e->getMessage());
        }
    }
}
