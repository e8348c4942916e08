<?php

declare(strict_types=1);

namespace SessionServer\Tests;

use SessionServer\Exception\ConnectionException;

/**
 * Connections that end while a session is open on them, and their locks with them.
 */
final class LostConnectionTest extends SessionTestCase
{
    private const SAVE = 'try { session_write_close(); } catch (SessionServer\Exception\SessionServerException $e) { return $e->getMessage(); }';

    public static function setUpBeforeClass(): void
    {
        self::$server = new Server('session: {strict: false}');
    }

    /** @return array<array{string}> */
    public function queries(): array
    {
        return ['php' => ['format=php'], 'json' => ['format=json'], 'persistent' => ['persistent=1']];
    }

    /** Runs a request whose connection breaks behind session_start(), and something else before it goes on. */
    private function interrupted(string $code, string $cookie, string $query, ?\Closure $meanwhile = null): Result
    {
        $request = $this->start("session_start(); $code", $cookie, $query)->at('in');
        self::$server->restart();
        $meanwhile !== null && $meanwhile();
        return $request->go()->end();
    }

    private function change(string $id, string $query, string $code): \Closure
    {
        return fn () => $this->request("session_start(); $code", $id, $query);
    }

    /** @dataProvider queries */
    public function testASave(string $query): void
    {
        $id = $this->session('$_SESSION = ["n" => 1, "more" => 1];', $query);
        $code = '$_SESSION["n"]++; unset($_SESSION["more"]); gate("in");' . self::SAVE;
        $result = $this->interrupted($code, $id, $query);
        $this->assertSame([null, ''], [$result->result, $result->printed]);
        $this->assertSame(['n' => 2], $this->request('session_start(); return $_SESSION;', $id, $query)->result);
        $this->assertFree($id);
    }

    /**
     * The new session has the id that its visitor has been sent, where the tenant takes ids that are not its own.
     *
     * @dataProvider queries
     */
    public function testTheFirstSave(string $query): void
    {
        $first = '$_SESSION["n"] = 1; gate("in");' . self::SAVE;
        $result = $this->interrupted($first, '', $query);
        $this->assertNull($result->result);
        $this->assertSame(1, $this->request('session_start(); return $_SESSION["n"];', $result->id, $query)->result);
        $lax = self::$server;
        self::$server = new Server('session: {strict: true}');
        try {
            $result = $this->interrupted($first, '', $query);
            $this->assertStringContainsString('unsaved changes are lost', $result->result);
            $this->assertGone($result->id);
        } finally {
            self::$server = $lax;
        }
    }

    /** @dataProvider queries */
    public function testASaveOverOneOfSomebodyElse(string $query): void
    {
        $id = $this->session('$_SESSION["n"] = 1;', $query);
        $code = '$_SESSION["n"]++; gate("in");' . self::SAVE;
        $result = $this->interrupted($code, $id, $query, $this->change($id, $query, '$_SESSION["n"] = 7;'));
        $this->assertSame('sessionserver: LOCKLOST another request changed the session after the connection was lost, nothing was saved; start the session again', $result->result);
        $this->assertSame(7, $this->request('session_start(); return $_SESSION["n"];', $id, $query)->result);
        foreach (['return $_SESSION;' => 'it is only looked at', '$_SESSION["n"] = 8;' => 'it is saved already'] as $other => $what) {
            $result = $this->interrupted($code, $id, $query, $this->change($id, $query, $other));
            $this->assertNull($result->result, $what);
            $this->assertSame(8, $this->request('session_start(); return $_SESSION["n"];', $id, $query)->result, $what);
            $this->request('session_start(); $_SESSION["n"] = 7;', $id, $query);
        }
    }

    /** @dataProvider queries */
    public function testASaveOfWhatHasEnded(string $query): void
    {
        $id = $this->session('$_SESSION["n"] = 1;', $query);
        $result = $this->interrupted('$_SESSION["n"]++; gate("in");' . self::SAVE, $id, $query, $this->change($id, $query, 'session_destroy();'));
        $this->assertStringContainsString('unsaved changes are lost', $result->result);
        $this->assertGone($id);
    }

    /** @dataProvider queries */
    public function testADestroy(string $query): void
    {
        $id = $this->session('$_SESSION["n"] = 1;', $query);
        foreach ([null, fn () => $this->assertGone($id)] as $meanwhile) {
            $result = $this->interrupted('gate("in"); return session_destroy();', $id, $query, $meanwhile);
            $this->assertSame([true, ''], [$result->result, $result->printed]);
            $this->assertGone($id);
        }
    }

    /** @dataProvider queries */
    public function testAMove(string $query): void
    {
        $id = $this->session('$_SESSION["n"] = 1;', $query);
        $result = $this->interrupted('gate("in"); session_regenerate_id(true); $_SESSION["n"]++;' . self::SAVE, $id, $query);
        $this->assertSame([null, ''], [$result->result, $result->printed]);
        $this->assertNotSame($id, $result->id);
        foreach ([$id, $result->id] as $either) {
            $this->assertSame(2, $this->request('session_start(); return $_SESSION["n"];', $either, $query)->result);
        }
    }

    public function testAMoveOfWhatSomebodyElseHasChanged(): void
    {
        $id = $this->session();
        $result = $this->interrupted('gate("in"); try { session_regenerate_id(true); } catch (Exception $e) { return $e->getMessage(); }', $id, '',
            $this->change($id, '', '$_SESSION["n"] = 7;'));
        $this->assertStringContainsString('another request changed the session', $result->result);
        $this->assertSame(['php' => 'n|i:7;'], $this->stored($id));
    }

    /** A silent server is not waited for twice: it has the lock still. */
    public function testASilentPath(): void
    {
        $proxy = new Child(['php', __DIR__ . '/proxy.php', self::$server->address]);
        $dsn = 'tcp://' . $proxy->line() . '?timeout=0.5';
        foreach (['session_write_close();', 'session_destroy();', 'session_regenerate_id(true);'] as $end) {
            $code = 'session_start(); $_SESSION["n"]++; gate("in"); try { ' . $end . ' } catch (Exception $e) { return $e->getMessage(); }';
            $request = (new Request($dsn, $code, $this->session()))->at('in');
            $proxy->say('freeze');
            $this->assertSame('frozen', $proxy->line());
            $this->assertStringContainsString('no reply within 0.5 s', $request->go()->end()->result);
        }
    }

    public function testAClient(): void
    {
        $client = self::$server->client();
        $create = $client->new();
        $client->put('a', '1');
        $client->commit();
        $client->close();
        $client->open($create);
        self::$server->restart();
        $client->destroy();
        $this->assertGone($create);
        $this->assertFalse($client->isOpen());

        $client->open($id = str_repeat('b', 32), 'rw');
        self::$server->restart();
        $client->destroy(); // it was never saved
        $this->assertGone($id);

        $client->open($id, 'rw');
        self::$server->restart();
        try {
            $client->close();
            $this->fail('it is saved');
        } catch (ConnectionException $e) {
            $this->assertStringContainsString('unsaved changes are lost', $e->getMessage());
        }
    }
}
