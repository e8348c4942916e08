<?php

declare(strict_types=1);

namespace SessionServer\Tests;

use SessionServer\Exception\LockTimeoutException;

/**
 * The save handler in real PHP requests, each in a process of its own.
 */
final class SaveHandlerTest extends SessionTestCase
{
    private const NOT_STRICT = 'ini_set("session.use_strict_mode", "0"); ';

    /** Returns PHP code that saves the session and, on an exception of a class of the library, returns a result. */
    private static function save(string $class, string $result = '$e->getMessage()'): string
    {
        return "try { session_write_close(); } catch (SessionServer\\Exception\\$class \$e) { return $result; }";
    }

    public function testNewSession(): void
    {
        $r = $this->request('session_start(); $_SESSION["user"] = "alice"; session_write_close();');
        $this->assertMatchesRegularExpression('/^[0-9a-f]{32}$/', $r->id);
        $this->assertSame(2, $r->roundTrips);
        $this->assertSame(['php' => 'user|s:5:"alice";'], $this->stored($r->id));
        $this->assertSame(['user' => 'alice'], $this->request('session_start();', $r->id)->session);
        $this->assertFree($r->id);
    }

    public function testUnwrittenSessionIsNotStored(): void
    {
        $r = $this->request('session_start(); $_SESSION["a"] = 1; $id = session_id(); session_abort(); return $id;');
        $this->assertGone($r->result);
    }

    /** @return array<array{array<string, string|int>, string}> settings of PHP, and a parameter of the DSN */
    public function serializers(): array
    {
        $handler = fn (string $name) => ['session.serialize_handler' => $name];
        $serializers = [
            [$handler('php'), ''],
            [$handler('php_serialize'), ''],
            [$handler('php_serialize'), 'format=json'],
            [$handler('php'), 'format=json'],
            [$handler('php_binary'), ''],
        ];
        return extension_loaded('igbinary') ? [...$serializers, [$handler('igbinary'), '']] : $serializers;
    }

    /**
     * A visitor without session data uses no space on the server.
     *
     * @dataProvider serializers
     */
    public function testEmptySessionIsNotStored(array $ini, string $query): void
    {
        foreach ([1, 0] as $lazy) {
            $ini['session.lazy_write'] = $lazy;
            foreach ([
                '',
                '$_SESSION["a"] = 1; unset($_SESSION["a"]);',
                '$_SESSION["a"] = 1; session_unset();',
            ] as $code) {
                $r = $this->request("session_start(); $code", '', $query, $ini);
                $this->assertSame([2, []], [$r->roundTrips, $r->session]);
                $this->assertGone($r->id);
                $adopted = bin2hex(random_bytes(16));
                $code = "session_id('$adopted'); session_start(); $code";
                $r = $this->request(self::NOT_STRICT . $code, '', $query, $ini);
                $this->assertSame([2, $adopted], [$r->roundTrips, $r->id]);
                $this->assertGone($adopted);
            }
            $r = $this->request('session_start(); $old = session_id(); session_regenerate_id(true);
                return $old;', '', $query, $ini);
            $this->assertGone($r->result);
            $this->assertGone($r->id);
        }
    }

    /**
     * An emptied session is stored for a short time, so that the visitor keeps the id.
     *
     * @dataProvider serializers
     */
    public function testEmptiedSessionExpiresEarly(array $ini, string $query): void
    {
        $id = $this->request('session_start(); $_SESSION["a"] = 1;', '', $query, $ini)->id;
        $r = $this->request('session_start(); $_SESSION = [];', $id, $query, $ini);
        $this->assertSame([$id, 2], [$r->id, $r->roundTrips]);
        $this->assertSame([], $this->stored($id));
        $client = self::$server->client();
        $client->open($id, 's');
        $stat = $client->stat();
        $this->assertLessThanOrEqual(120, $stat['expires'] - $stat['last_used']);
        $this->assertSame([], $this->request('session_start();', $id, $query, $ini)->session);
        $r = $this->request('session_start(); $_SESSION["b"] = 2;', $id, $query, $ini);
        $this->assertSame($id, $r->id);
        $this->assertSame(['b' => 2], $this->request('session_start();', $id, $query, $ini)->session);
    }

    public function testUnchangedSessionIsOnlyProlonged(): void
    {
        $id = $this->session();
        $before = $this->version($id);
        $r = $this->request('session_start();', $id);
        $this->assertSame([$id, ['n' => 1], 2], [$r->id, $r->session, $r->roundTrips]);
        $r = $this->request('session_start();', $id, '', ['session.lazy_write' => 0]); // PHP calls write()
        $this->assertSame(['n' => 1], $r->session);
        $this->assertSame($before, $this->version($id));
        $this->assertFree($id);
    }

    public function testChangedSession(): void
    {
        $id = $this->session();
        $before = $this->version($id);
        $r = $this->request('session_start(); $_SESSION["n"]++;', $id);
        $this->assertSame([$id, 2], [$r->id, $r->roundTrips]);
        $this->assertSame($before + 1, $this->version($id));
        $this->assertSame(['php' => 'n|i:2;'], $this->stored($id));
    }

    public function testEmptiedSession(): void
    {
        $id = $this->session();
        $this->request('session_start(); $_SESSION = [];', $id);
        $this->assertSame([], $this->stored($id));
        $this->assertSame([], $this->request('session_start();', $id)->session);
    }

    public function testReadAndClose(): void
    {
        $id = $this->session();
        $before = $this->version($id);
        $code = 'session_start(["read_and_close" => true]); $_SESSION["n"] = 9; gate("closed");';
        $request = $this->start($code, $id)->await('closed');
        $this->assertFree($id);
        $this->assertSame(2, $request->resume()->finish()->roundTrips);
        $this->assertSame($before, $this->version($id));
    }

    public function testUnknownIdStrict(): void
    {
        $r = $this->request('session_start(); $_SESSION["a"] = 1;', str_repeat('a', 32));
        $this->assertNotSame(str_repeat('a', 32), $r->id);
        $this->assertSame(3, $r->roundTrips);
        $this->assertGone(str_repeat('a', 32));
        foreach (['short', str_repeat('x', 257), "space in the middle", "umlaut-\u{fc}-0123456789"] as $invalid) {
            $r = $this->request('session_start(); $_SESSION["a"] = 1;', $invalid);
            $this->assertSame([32, 2], [strlen($r->id), $r->roundTrips]);
        }
    }

    /**
     * Without strict mode PHP accepts an id from the visitor. In a tenant that is not strict the session begins with a
     * warning.
     */
    public function testUnknownIdNotStrict(): void
    {
        $id = str_repeat('b', 32);
        $r = $this->start(self::NOT_STRICT . 'session_start(); $_SESSION["a"] = 1;', $id)->finish();
        $this->assertSame([$id, 2], [$r->id, $r->roundTrips]);
        $warning = 'Warning: sessionserver: new session under an id from the visitor';
        $this->assertStringContainsString($warning, $r->printed);
        $this->assertSame(['a' => 1], $this->request('session_start();', $id)->session);
        $this->request(self::NOT_STRICT . 'session_start();', $id); // the session exists now
        $this->start(self::NOT_STRICT . 'session_start(["read_and_close" => true]);', str_repeat('c', 32))->finish();
        $this->assertGone(str_repeat('c', 32));
    }

    public function testDestroyedIdNotStrict(): void
    {
        $id = $this->session();
        $this->request('session_start(); session_destroy();', $id);
        $r = $this->start(self::NOT_STRICT . 'session_start(); $_SESSION["a"] = 1;', $id)->finish();
        $this->assertStringContainsString('not saved: the session has ended', $r->printed);
        $this->assertStringContainsString('session.use_strict_mode = 1', $r->printed);
        $this->assertGone($id);
    }

    /** @dataProvider wrappers */
    public function testRegenerateWithCopy(string $wrap): void
    {
        $id = $this->session();
        $r = $this->request("$wrap session_start(); \$_SESSION['n'] = 2; session_regenerate_id(false);
            \$_SESSION['n'] = 3;", $id);
        $this->assertNotSame($id, $r->id);
        $this->assertSame(['php' => 'n|i:2;'], $this->stored($id));
        $this->assertSame(['php' => 'n|i:3;'], $this->stored($r->id));
    }

    public function testRegenerate(): void
    {
        $id = $this->session();
        $request = $this->start('session_start(); $_SESSION["n"] = 2; session_regenerate_id(true);
            $_SESSION["m"] = 3; gate("moved"); session_write_close();', $id);
        $request->await('moved');
        // The browser sends the old cookie again before it gets the new one. That request waits and opens the session.
        $late = $this->start('session_start(); gate("in"); $_SESSION["late"] = true;', $id);
        self::$server->awaitWaiter();
        $r = $request->resume()->finish();
        $this->assertSame(3, $r->roundTrips);
        $this->assertSame(['n' => 2, 'm' => 3, 'late' => true], $late->await('in')->resume()->finish()->session);
        $this->assertSame(['n' => 2, 'm' => 3, 'late' => true], $this->request('session_start();', $r->id)->session);
    }

    public function testRegenerateWithoutGrace(): void
    {
        foreach (['', 'ini_set("session.use_strict_mode", "0");'] as $ini) {
            $id = $this->session();
            $r = $this->request("$ini session_start(); session_regenerate_id(true);", $id, 'grace=0');
            $this->assertSame(['n' => 1], $this->request('session_start();', $r->id)->session);
            $this->assertGone($id);
        }
        $this->assertSame([], $this->request('session_start();', $id)->session);
    }

    public function testRegenerateNewSession(): void
    {
        $r = $this->request('session_start(); $_SESSION["a"] = 1; $old = session_id(); session_regenerate_id(true);
            return $old;', '', 'grace=0');
        $this->assertNotSame($r->result, $r->id);
        $this->assertSame(['php' => 'a|i:1;'], $this->stored($r->id));
        $this->assertGone($r->result);
    }

    public function testRegenerateTwiceAndDestroy(): void
    {
        $id = $this->session();
        $r = $this->request('session_start(); session_regenerate_id(true); session_regenerate_id(true);
            $id = session_id(); session_destroy(); return $id;', $id);
        $this->assertGone($r->result);
        $this->assertGone($id);
    }

    /** @return array<string, array{string}> */
    public function wrappers(): array
    {
        return ['save handler' => [''], 'wrapped save handler' => [self::WRAP]];
    }

    /** A handler around the save handler without create_sid, like Symfony's. */
    private const WRAP = <<<'PHP'
        session_set_save_handler(new class($handler) implements
            SessionHandlerInterface, SessionUpdateTimestampHandlerInterface {
            public function __construct(private $inner) {}
            public function open($path, $name): bool { return $this->inner->open($path, $name); }
            public function close(): bool { return $this->inner->close(); }
            public function read($id): string|false { return $this->inner->read($id); }
            public function write($id, $data): bool { return $this->inner->write($id, $data); }
            public function destroy($id): bool { return $this->inner->destroy($id); }
            public function gc($max): int|false { return $this->inner->gc($max); }
            public function validateId($id): bool { return $this->inner->validateId($id); }
            public function updateTimestamp($id, $data): bool { return $this->inner->updateTimestamp($id, $data); }
        }, true);
        PHP;

    /**
     * @testWith ["0"]
     *           ["1"]
     */
    public function testRegenerateThroughWrapperDestroysOldId(string $strict): void
    {
        $id = $this->session();
        $r = $this->request(self::WRAP . "ini_set('session.use_strict_mode', '$strict');
            session_start(); \$_SESSION['n'] = 2; session_regenerate_id(true); \$_SESSION['n'] = 3;", $id);
        $this->assertSame(['php' => 'n|i:3;'], $this->stored($r->id));
        $this->assertGone($id);
    }

    public function testCreateId(): void
    {
        $id = $this->session();
        $r = $this->request('session_start(); $new = session_create_id("user-"); $_SESSION["n"] = 2;
            session_write_close(); return $new;', $id);
        $this->assertMatchesRegularExpression('/^user-[0-9a-f]{32}$/', $r->result);
        $this->assertSame([$id, 2], [$r->id, $r->roundTrips]);
        $this->assertGone($r->result);
        $r = $this->request('session_start(); $new = session_create_id("user-"); session_write_close();
            ini_set("session.use_strict_mode", "0"); session_id($new); session_start(); $_SESSION["x"] = 1;
            return $new;', $id);
        $this->assertSame($r->result, $r->id);
        $this->assertSame(['php' => 'x|i:1;'], $this->stored($r->id));
    }

    public function testReset(): void
    {
        $id = $this->session();
        $r = $this->request('session_start(); $_SESSION["n"] = 99; session_reset(); $n = $_SESSION["n"];
            $_SESSION["m"] = 2; return $n;', $id);
        $this->assertSame([1, ['n' => 1, 'm' => 2], $id], [$r->result, $r->session, $r->id]);
        $this->assertSame(['php' => 'n|i:1;m|i:2;'], $this->stored($id));
        $r = $this->request('session_start(); $id = session_id(); $_SESSION["n"] = 99; session_reset();
            $_SESSION["m"] = 2; return $id;');
        $this->assertSame([$r->result, ['m' => 2]], [$r->id, $r->session]);
    }

    public function testAbort(): void
    {
        $id = $this->session();
        $code = 'session_start(); $_SESSION["n"] = 99; session_abort(); gate("aborted");';
        $request = $this->start($code, $id)->await('aborted');
        $this->assertFree($id);
        $request->resume()->finish();
        $this->assertSame(['php' => 'n|i:1;'], $this->stored($id));
    }

    public function testDestroy(): void
    {
        $id = $this->session();
        $this->assertSame(2, $this->request('session_start(); session_destroy();', $id)->roundTrips);
        $this->assertGone($id);
        $code = 'session_start(); session_destroy(); session_start(); $_SESSION["new"] = 1;';
        $r = $this->request($code, $this->session());
        $this->assertSame(['php' => 'new|i:1;'], $this->stored($r->id));
        $r = $this->request('session_start(); $_SESSION["a"] = 1; $id = session_id(); session_destroy(); return $id;');
        $this->assertGone($r->result);
    }

    public function testLateRequestCannotRecreateDestroyedSession(): void
    {
        $id = $this->session();
        $logOut = $this->start('session_start(); gate("in"); session_destroy();', $id)->await('in');
        $late = $this->start('session_start(); $_SESSION["late"] = 1;', $id);
        self::$server->awaitWaiter();
        $logOut->resume()->finish();
        $r = $late->finish();
        $this->assertNotSame($id, $r->id);
        $this->assertSame(['late' => 1], $r->session);
        $this->assertGone($id);
    }

    /**
     * exit and errors end a script as its end does: PHP saves what is in $_SESSION. The handler must be as good as
     * PHP's own.
     */
    public function testEndOfScriptSavesLikePhpHandler(): void
    {
        $dir = self::$server->dir . '/files';
        mkdir($dir);
        foreach ([
            'exit(0);',
            'undefined_function();',
            'eval("class A { abstract function f(); }");',
            'ini_set("memory_limit", "8M"); str_repeat("x", 100_000_000);',
            'set_time_limit(1); while (true);',
        ] as $end) {
            $code = "session_start(); \$_SESSION['n'] = 2; $end";
            $id = $this->session();
            $output = $this->start($code, $id)->output();
            $this->assertFree($id);
            $stored = $this->stored($id)['php'];

            file_put_contents("$dir/sess_$id", 'n|i:1;');
            $handler = "session_set_save_handler(new SessionHandler(), true); session_save_path('$dir');";
            $this->start("$handler $code", $id, 'mode=r')->output();
            $this->assertSame(file_get_contents("$dir/sess_$id"), $stored, $end . $output);
        }
    }

    /**
     * @testWith [""]
     *           ["persistent=1"]
     */
    public function testKilledRequestReleasesLock(string $query): void
    {
        $id = $this->session();
        $request = $this->start('session_start(); $_SESSION["n"] = 2; gate("in");', $id, $query)->await('in');
        $request->kill();
        $this->assertFree($id);
        $this->assertSame(['php' => 'n|i:1;'], $this->stored($id));
    }

    public function testKilledRequestLeavesQueue(): void
    {
        $id = $this->session();
        $holder = self::$server->client();
        $holder->open($id, 'u');
        $request = $this->start('gate("before"); session_start(); gate("in");', $id)->await('before')->resume();
        self::$server->awaitWaiter();
        $request->kill();
        $holder->close();
        $this->assertFree($id);
    }

    public function testAllBytes(): void
    {
        $code = '$_SESSION["bytes"] = implode("", array_map("chr", range(0, 255))) . "\r\n\0*3\r\n$-1\r\n";
            $_SESSION["emoji \u{1f600}"] = "\u{1f468}\u{200d}\u{1f469}";';
        $id = $this->session($code);
        $r = $this->request('session_start();', $id);
        $this->assertSame(implode('', array_map('chr', range(0, 255))) . "\r\n\0*3\r\n$-1\r\n", $r->session['bytes']);
        $this->assertSame("\u{1f468}\u{200d}\u{1f469}", $r->session["emoji \u{1f600}"]);
    }

    /** Sessions beyond the server's limit of a value, and just below its limit of a session. */
    public function testBigSessions(): void
    {
        foreach ([1 << 20, 4_000_000] as $size) {
            $id = $this->session("\$_SESSION['big'] = str_repeat(\"0123456789abcde\\n\", $size >> 4);");
            $r = $this->request('session_start(); $_SESSION["big"][0] = "X"; return md5($_SESSION["big"]);', $id);
            $this->assertSame(md5('X' . substr(str_repeat("0123456789abcde\n", $size >> 4), 1)), $r->result);
            $hash = $this->request('session_start(); return md5($_SESSION["big"]);', $id)->result;
            $this->assertSame($r->result, $hash);
            $r = $this->request('session_start(); $_SESSION = ["small" => 1];', $id);
            $this->assertSame(2, $r->roundTrips);
            $this->assertSame(['small' => 1], $this->request('session_start();', $id)->session);
            $this->request('session_start(); $_SESSION = [];', $id);
            $this->assertSame([], $this->stored($id));
        }
    }

    public function testTooLargeSessionIsUnchanged(): void
    {
        $id = $this->session();
        $code = 'session_start(); $_SESSION["big"] = str_repeat("x", 5_000_000); ' . self::save('TooLargeException');
        $r = $this->start($code, $id)->finish();
        $this->assertStringStartsWith('sessionserver: put: TOOLARGE ', $r->result);
        $this->assertSame(['php' => 'n|i:1;'], $this->stored($id));
        $this->assertFree($id);
    }

    /** @return array<string, array{string, string, string}> code, parameter of the DSN, and the exceeded limit */
    public function limits(): array
    {
        $session = 'TOOLARGE too large: the session would have ';
        return [
            'session' => ['$_SESSION["big"] = str_repeat("x", 4_300_000);', 'format=php', $session],
            'large session' => ['$_SESSION["big"] = str_repeat("x", 20_000_000);', 'format=php', $session],
            'session of JSON' => ['$_SESSION = array_fill(0, 9, str_repeat("x", 600_000));', 'format=json', $session],
            'value of JSON' => ['$_SESSION["big"] = str_repeat("x", 4_300_000);', 'format=json',
                'TOOLARGE a value has at most 1048576 bytes'],
            'keys of JSON' => ['$_SESSION = range(0, 1099);', 'format=json',
                'TOOLARGE too large: a session has at most 1024 keys'],
        ];
    }

    /** @dataProvider limits */
    public function testErrorNamesExceededLimit(string $code, string $query, string $limit): void
    {
        $id = $this->session('$_SESSION["n"] = 1;', $query);
        $stored = $this->stored($id);
        $message = $this->request("session_start(); $code" . self::save('TooLargeException'), $id, $query)->result;
        $this->assertStringContainsString($limit, $message);
        $this->assertMatchesRegularExpression('/ \(the session has [0-9]+ bytes\)$/D', $message);
        if (str_contains($limit, 'would have')) {
            $this->assertStringContainsString('(allowed: 4194304)', $message);
        }
        $this->assertSame($stored, $this->stored($id));
    }

    public function testIncreasedLimits(): void
    {
        foreach ([
            'value: 8MiB, request: 32MiB' => null,
            '' => 'TOOLARGE a value has at most 1048576 bytes',
        ] as $limits => $message) {
            $session = 'max_bytes: 32MiB' . ($limits === '' ? '' : ', max_value: 8MiB');
            self::$server = new Server("session: {{$session}}\nlimits: {{$limits}}");
            try {
                $r = $this->request('session_start(); $_SESSION["big"] = str_repeat("0123456789", 2_000_000); '
                    . self::save('TooLargeException'));
                if ($message !== null) {
                    $this->assertStringContainsString($message, $r->result);
                    continue;
                }
                $this->assertNull($r->result);
                $code = 'session_start(); $sum = md5($_SESSION["big"]);
                    $_SESSION["big"] = str_repeat("x", 3_000_000); return $sum;';
                $this->assertSame(md5(str_repeat('0123456789', 2_000_000)), $this->request($code, $r->id)->result);
                $code = 'session_start(); return strlen($_SESSION["big"]);';
                $this->assertSame(3_000_000, $this->request($code, $r->id)->result);
            } finally {
                self::$server = new Server();
            }
        }
    }

    public function testIgnoredSettingsAreLogged(): void
    {
        $start = 'session_start(); $_SESSION["n"] = 1; return strlen(session_id());';
        $ini = fn (int $length, int $bits) => ['session.sid_length' => $length,
            'session.sid_bits_per_character' => $bits, 'session.gc_maxlifetime' => 7200];
        $r = $this->start($start, '', '', $ini(64, 6))->finish();
        $this->assertSame(32, $r->result);
        $message = 'session.sid_length = 64 and session.sid_bits_per_character = 6 are ignored';
        $this->assertStringContainsString($message, $r->printed);
        $this->assertStringContainsString('session.gc_maxlifetime = 7200 is ignored', $r->printed);
        $this->request($start, $r->id, '', ['session.sid_length' => 64]); // not logged for an existing session
        foreach ([[32, 4], [26, 5]] as [$length, $bits]) {
            $this->request($start, '', 'lifetime=7200', $ini($length, $bits));
        }
        // An application with functions of its own has ids by its settings.
        $r = $this->request('$true = fn () => true;
            session_set_save_handler($true, $true, fn () => "", $true, $true, $true);
            session_start(); return session_id();', '', '', $ini(64, 4));
        $this->assertMatchesRegularExpression('/^[0-9a-f]{64}$/D', $r->result);
    }

    /**
     * @testWith ["", ""]
     *           ["", "lifetime=50"]
     *           ["", "format=json"]
     *           ["session_regenerate_id(true);", ""]
     *           ["session_regenerate_id(false);", "grace=0"]
     */
    public function testRefusedFirstSaveStoresNothing(string $code, string $query): void
    {
        $r = $this->start("session_start(); $code \$_SESSION['big'] = str_repeat('x', 5_000_000); \$id = session_id(); "
            . self::save('TooLargeException', '[$id, $e->getMessage()]'), '', $query)->finish();
        $this->assertStringStartsWith('sessionserver: put: TOOLARGE ', $r->result[1]);
        $this->assertSame('', $r->printed);
        $this->assertGone($r->result[0]);
    }

    /** A refused save under an id of the application keeps the earlier content. The id can be used later. */
    public function testRefusedSaveWithIdOfApplication(): void
    {
        $id = bin2hex(random_bytes(16));
        $start = fn (string $id) => "ini_set('session.use_strict_mode', '0'); session_id('$id'); session_start(); ";
        $code = '$_SESSION["big"] = str_repeat("x", 5_000_000); ' . self::save('TooLargeException', '1');
        $this->assertSame(1, $this->request($start($id) . $code)->result);
        $this->assertGone($id);
        $json = bin2hex(random_bytes(16)); // the change and the end of the session take one round trip
        $this->assertSame(1, $this->request($start($json) . $code, '', 'format=json')->result);
        $this->assertSame([], $this->stored($json));
        $this->request($start($id) . '$_SESSION["n"] = 1;');
        $this->assertSame(1, $this->request($start($id) . $code)->result);
        $this->assertSame(['php' => 'n|i:1;'], $this->stored($id));
        $client = self::$server->client();
        $client->open($other = bin2hex(random_bytes(16)), 'rw');
        $client->put('other language', '1');
        $client->close();
        $this->assertSame(1, $this->request($start($other) . $code)->result);
        $this->assertSame(['other language' => '1'], $this->stored($other));
    }

    public function testUnserializableKey(): void
    {
        $r = $this->start('session_start(); $_SESSION["a|b"] = 1; $id = session_id(); '
            . self::save('EncodingException', '[$id, $e->getMessage()]'))->finish();
        $this->assertStringContainsString("\$_SESSION['a|b']", $r->result[1]);
        $this->assertGone($r->result[0]);
        $id = $this->session();
        $r = $this->start('session_start(); $_SESSION["a|b"] = 1; ' . self::save('EncodingException'), $id)->finish();
        $this->assertStringContainsString("\$_SESSION['a|b']", $r->result);
        $this->assertSame(['php' => 'n|i:1;'], $this->stored($id));
        $r = $this->start('session_start(); $_SESSION["c"] = function () {};
            try { session_write_close(); } catch (Exception $e) { $message = $e->getMessage(); }
            session_start(); $_SESSION["d"] = 1; return $message;', $id)->finish();
        $this->assertStringContainsString('Closure', $r->result); // PHP itself refuses closures
        $this->assertSame(['n' => 1, 'd' => 1], $r->session);
    }

    public function testLockTimeoutFails(): void
    {
        $id = $this->session();
        $holder = self::$server->client();
        $holder->open($id, 'u');
        $r = $this->start('ob_start(); try { session_start(); }
            catch (SessionServer\Exception\LockTimeoutException $e) { return [$e->errorCode, session_status()]; }',
            $id, 'lock_timeout=0.02')->finish();
        $this->assertSame(['LOCKTIMEOUT', PHP_SESSION_NONE], $r->result);
        $this->assertStringNotContainsString('Warning', $r->printed);
        // An uncaught exception.
        $output = $this->start('session_start();', $id, 'lock_timeout=0')->output();
        $message = 'Uncaught ' . LockTimeoutException::class . ': sessionserver: open: LOCKTIMEOUT ';
        $this->assertStringContainsString($message, $output);
    }

    public function testLockTimeoutReadOnly(): void
    {
        $id = $this->session();
        $holder = self::$server->client();
        $holder->open($id, 'u');
        $query = 'lock_timeout=0&on_lock_timeout=readonly';
        $r = $this->request('session_start(); return $_SESSION["n"];', $id, $query);
        $this->assertSame([1, $id], [$r->result, $r->id]);
        $r = $this->start('session_start(); $_SESSION["n"] = 2; return session_write_close();', $id, $query)->finish();
        $this->assertTrue($r->result);
        $warning = 'Warning: sessionserver: the session was not saved: another request has its lock';
        $this->assertStringContainsString($warning, $r->printed);
        foreach ([
            'session_destroy();' => 'LockTimeoutException',
            'session_regenerate_id(true);' => 'ReadOnlyException',
        ] as $code => $class) {
            $output = $this->start("session_start(); $code", $id, $query)->output();
            $this->assertStringContainsString("Uncaught SessionServer\\Exception\\$class", $output);
        }
        $this->assertSame(['php' => 'n|i:1;'], $this->stored($id));
        $other = self::$server->client();
        $new = $other->new(); // no values are saved yet
        $output = $this->start(self::NOT_STRICT . 'session_start();', $new, $query)->output();
        $this->assertStringContainsString('LockTimeoutException', $output);
        $holder->close();
        $this->request('session_start(); $_SESSION["n"] = 3;', $id, $query);
        $this->assertSame(['php' => 'n|i:3;'], $this->stored($id));
    }

    public function testModeR(): void
    {
        $id = $this->session();
        $holder = self::$server->client();
        $holder->open($id, 'u');
        $r = $this->request('session_start(); return $_SESSION["n"];', $id, 'mode=r'); // does not wait
        $this->assertSame([1, 1], [$r->result, $r->roundTrips]);
        $r = $this->start('session_start(); $_SESSION["n"] = 2;', $id, 'mode=r')->finish();
        $this->assertStringContainsString('the session was not saved: the DSN has mode=r', $r->printed);
        $output = $this->start('session_start(); session_destroy();', $id, 'mode=r')->output();
        $this->assertStringContainsString('READONLY', $output);
        $holder->close();
        $this->assertSame(['php' => 'n|i:1;'], $this->stored($id));
        $r = $this->request('session_start(); return session_id();', '', 'mode=r'); // a visitor without a session
        $this->assertGone($r->result);
        // The cookie is kept, since its session may not be saved yet.
        $r = $this->request('session_start();', str_repeat('d', 32), 'mode=r');
        $this->assertSame([[], str_repeat('d', 32), 1], [$r->session, $r->id, $r->roundTrips]);
        $r = $this->start('$handler->write(str_repeat("d", 32), "x");', '', 'mode=r')->finish();
        $this->assertStringContainsString('not saved: the DSN has mode=r', $r->printed);
    }

    public function testLifetime(): void
    {
        $r = $this->request('session_start(); $_SESSION["a"] = 1;', '', 'lifetime=77');
        $code = 'session_id(bin2hex(random_bytes(16))); session_start(); $_SESSION["a"] = 1;';
        $adopted = $this->request(self::NOT_STRICT . $code, '', 'lifetime=78');
        foreach ([77 => $r->id, 78 => $adopted->id] as $lifetime => $id) {
            $client = self::$server->client();
            $client->open($id, 's');
            $this->assertSame($lifetime, $client->lifetime());
        }
    }

    public function testLockLost(): void
    {
        self::$server = new Server('session: {lock_lease: 20ms}');
        try {
            $id = $this->session();
            $code = 'session_start(); $_SESSION["n"] = "slow"; gate("in"); session_write_close();';
            $slow = $this->start($code, $id)->await('in');
            $this->request('session_start(); $_SESSION["n"] = "next";', $id);
            $output = $slow->resume()->output();
            $this->assertStringContainsString('LockLostException: sessionserver: put: LOCKLOST ', $output);
            $this->assertSame(['php' => 'n|s:4:"next";'], $this->stored($id));
            // A session without changes ends without an error.
            $slow = $this->start('session_start(); gate("in");', $id)->await('in');
            $this->request('session_start(); $_SESSION["n"] = "again";', $id);
            $this->assertSame('', $slow->resume()->finish()->printed);
            // After a lost lock only session_destroy() succeeds.
            $slow = $this->start('session_start(); gate("in"); session_regenerate_id(true);', $id)->await('in');
            $this->request('session_start(); $_SESSION["n"] = "third";', $id);
            $output = $slow->resume()->output();
            $this->assertStringContainsString('LockLostException: sessionserver: regenerate_id: LOCKLOST ', $output);
            $slow = $this->start('session_start(); gate("in"); session_destroy();', $id)->await('in');
            $this->request('session_start(); $_SESSION["n"] = "fourth";', $id);
            $slow->resume()->finish();
            $this->assertGone($id);
        } finally {
            self::$server = new Server();
        }
    }

    public function testGraceBeyondServerLimit(): void
    {
        self::$server = new Server('session: {grace_max: 1s}');
        try {
            $id = $this->session();
            $r = $this->request('session_start(); session_regenerate_id(true);', $id);
            $this->assertGone($id);
            $this->assertSame(['php' => 'n|i:1;'], $this->stored($r->id));
        } finally {
            self::$server = new Server();
        }
    }

    public function testStrictTenant(): void
    {
        self::$server = new Server('session: {strict: true}');
        try {
            $id = $this->session();
            $this->assertSame(['n' => 1], $this->request('session_start();', $id)->session);
            $r = $this->start(self::NOT_STRICT . 'session_start(); $_SESSION["a"] = 1;', str_repeat('e', 32))->finish();
            $this->assertStringContainsString('not saved', $r->printed);
        } finally {
            self::$server = new Server();
        }
    }

    public function testRegisterTwiceAndByFile(): void
    {
        $r = $this->request('SessionServer\SaveHandler::register(); session_start(); $_SESSION["a"] = 1;');
        $this->assertSame(['php' => 'a|i:1;'], $this->stored($r->id));
        $file = self::$server->dir . '/app.dsn';
        file_put_contents($file, self::$server->dsn() . "\n");
        $r = (new Request("file://$file", 'session_start(); return $_SESSION;', $r->id))->finish();
        $this->assertSame([['a' => 1], ''], [$r->result, $r->printed]);
        $output = (new Request('file:///nowhere', 'session_start();'))->output();
        $message = 'DSN in /nowhere: the file cannot be read: No such file or directory';
        $this->assertStringContainsString($message, $output);
        foreach ([
            'session_start();',
            'session_set_save_handler(new SessionServer\SaveHandler(), true); session_start();',
        ] as $code) {
            $output = (new Request('', $code))->output();
            $this->assertStringContainsString('session.save_path: empty (set it to a DSN such as tls://', $output);
        }
    }

    public function testWithoutRegister(): void
    {
        $r = $this->request('session_set_save_handler(new SessionServer\SaveHandler(), true);
            session_start(); $_SESSION["a"] = 1;');
        $this->assertSame(['php' => 'a|i:1;'], $this->stored($r->id));
    }

    /** Laravel has its own sessions and calls only read, write and destroy. */
    public function testCallsOfLaravel(): void
    {
        [$first, $second] = [bin2hex(random_bytes(20)), bin2hex(random_bytes(20))];
        $dsn = self::$server->dsn();
        $code = fn (string $code) => "\$h = new SessionServer\\SaveHandler('$dsn'); $code";
        $r = $this->request($code("\$empty = \$h->read('$first'); \$h->write('$first', 'data');
            return [\$empty, \$h->roundTrips()];"));
        $this->assertSame(['', 2], $r->result);
        $this->assertSame(['php' => 'data'], $this->stored($first));
        $this->assertFree($first);
        $r = $this->request($code("\$data = \$h->read('$first'); \$h->destroy('$first');
            \$h->write('$second', \$data . ' moved'); return \$data;"));
        $this->assertSame('data', $r->result);
        $this->assertSame(['php' => 'data moved'], $this->stored($second));
        $this->assertGone($first);
        // Further writes with less data, and without data.
        $this->request($code("\$h->write('$second', str_repeat('x', 3_000_000)); \$h->write('$second', 'short');"));
        $this->assertSame('short', $this->request($code("return \$h->read('$second');"))->result);
        $this->request($code("\$h->write('$second', '');"));
        $this->assertSame([], $this->stored($second));
    }

    /** A handler that reads and validates in its own store, and writes and destroys in both stores. */
    private const TWO_STORES = <<<'PHP'
        session_set_save_handler($twoStores = new class($handler) implements
            SessionHandlerInterface, SessionUpdateTimestampHandlerInterface {
            public static $stored = [];
            public function __construct(private $inner) {}
            public function open($path, $name): bool { return $this->inner->open($path, $name); }
            public function close(): bool { return $this->inner->close(); }
            public function read($id): string|false { return self::$stored[$id] ?? ''; }
            public function validateId($id): bool { return isset(self::$stored[$id]); }
            public function write($id, $data): bool {
                self::$stored[$id] = $data;
                return $this->inner->write($id, $data);
            }
            public function updateTimestamp($id, $data): bool { return $this->inner->updateTimestamp($id, $data); }
            public function destroy($id): bool {
                unset(self::$stored[$id]);
                return $this->inner->destroy($id);
            }
            public function gc($max): int|false { return 0; }
        }, true);
        PHP;

    /**
     * @testWith ["", "0"]
     *           ["", "1"]
     *           ["format=json", "1"]
     */
    public function testWriteWithoutRead(string $query, string $lazy): void
    {
        $r = $this->request(self::TWO_STORES . "ini_set('session.lazy_write', '$lazy');" . <<<'PHP'
            session_start();
            $_SESSION['n'] = 1;
            session_write_close();
            session_start();
            session_write_close(); // nothing has changed
            session_start();
            $old = session_id();
            session_regenerate_id(true);
            $_SESSION['m'] = 2;
            session_write_close();
            return $old;
            PHP, '', $query);
        $this->assertGone($r->result);
        $this->assertSame(['n' => 1, 'm' => 2], $r->session);
        $this->assertSame($query === '' ? ['php' => 'n|i:1;m|i:2;'] : ['n' => '1', 'm' => '2'], $this->stored($r->id));
        $this->assertFree($r->id);
    }

    /** A session from the other store is written here even if it is unchanged. */
    public function testUnchangedSessionOfOtherStoreIsWritten(): void
    {
        $id = bin2hex(random_bytes(16));
        $this->request(self::TWO_STORES . "ini_set('session.lazy_write', '1'); \$twoStores::\$stored['$id'] = 'n|i:5;';
            session_start();", $id);
        $this->assertSame(['php' => 'n|i:5;'], $this->stored($id));
    }

    public function testDestroyWithoutRead(): void
    {
        $id = $this->session();
        $this->request(self::TWO_STORES . self::NOT_STRICT . 'session_start(); session_destroy();', $id);
        $this->assertGone($id);
        $id = $this->session();
        $code = 'session_start(); session_regenerate_id(true); $_SESSION["n"] = 7;';
        $r = $this->request(self::TWO_STORES . self::NOT_STRICT . $code, $id);
        $this->assertGone($id);
        $this->assertSame(['php' => 'n|i:7;'], $this->stored($r->id));
        $code = 'session_start(); session_destroy();';
        $this->request(self::TWO_STORES . self::NOT_STRICT . $code, bin2hex(random_bytes(16)));
    }

    /** A session that could not be read is not overwritten, even if a handler around this one ignores the error. */
    public function testUnreadSessionIsNotOverwritten(): void
    {
        $id = $this->session();
        $holder = self::$server->client();
        $holder->open($id, 'u');
        $read = 'read($id): string|false { ';
        $tryInner = $read . 'try { return $this->inner->read($id); } catch (Exception) {} ';
        $handler = str_replace($read, $tryInner, self::TWO_STORES);
        $code = 'session_start(); gate("in"); $_SESSION["lost"] = 1; ' . self::save('ConnectionException');
        $request = $this->start($handler . self::NOT_STRICT . $code, $id, 'lock_timeout=0')->await('in');
        $holder->abort();
        $message = 'the session is no longer open, nothing was saved';
        $this->assertStringContainsString($message, $request->resume()->finish()->result);
        $this->assertSame(['php' => 'n|i:1;'], $this->stored($id));
    }

    /**
     * An application sets functions of its own after the handler was registered. PHP still calls some methods of the
     * handler, which must have no effect on the application's sessions.
     *
     * @testWith [6]
     *           [7]
     *           [8]
     *           [9]
     */
    public function testApplicationWithOwnFunctions(int $count): void
    {
        $file = self::$server->dir . "/own-$count";
        $code = "\$file = '$file';" . '
            $data = fn () => is_file($file) ? json_decode(file_get_contents($file), true) : [];
            $save = fn (array $data) => (bool) file_put_contents($file, json_encode($data));
            $functions = [fn () => true, fn () => true, fn ($id) => $data()[$id] ?? "",
                fn ($id, $value) => $save([$id => $value, "writes" => 1 + ($data()["writes"] ?? 0)] + $data()),
                fn ($id) => $save(array_diff_key($data(), [$id => 1])), fn () => 0,
                fn () => bin2hex(random_bytes(16)), fn ($id) => isset($data()[$id]),
                fn ($id, $value) => $save(["writes" => 1 + ($data()["writes"] ?? 0)] + $data())];
            session_set_save_handler(...array_slice($functions, 0, ' . $count . '));';
        $first = $this->request("$code session_start(); \$_SESSION['n'] = 1;");
        $this->assertSame(0, $first->roundTrips);
        $second = $this->request("$code session_start(); \$n = \$_SESSION['n'] ?? 0; session_write_close();
            return [\$n, \$data()['writes']];", $first->id);
        // An unchanged session is prolonged.
        $this->assertSame([$first->id, [1, 2], 0], [$second->id, $second->result, $second->roundTrips]);
        $third = $this->request("$code session_start(); session_regenerate_id(true); \$_SESSION['n']++;
            session_create_id('x-');", $first->id);
        $this->assertNotSame($first->id, $third->id);
        $fourth = $this->request("$code session_start(); \$n = \$_SESSION; session_destroy(); return \$n;", $third->id);
        $this->assertSame([['n' => 2], 0], [$fourth->result, $third->roundTrips]);
        $this->assertGone($first->id);
    }

    /**
     * PHP ends such a session without calling the handler.
     *
     * @testWith ["$c = new SessionServer\\Client(ini_get('session.save_path')); $c->ping(); gate('next');"]
     *           ["session_id(bin2hex(random_bytes(16))); session_start(); gate('next'); $_SESSION = [];"]
     *           ["register_shutdown_function(fn () => gate('next')); exit;"]
     */
    public function testUnserializableValueReleasesLock(string $next): void
    {
        $id = $this->session();
        $request = $this->start('session_start(); $_SESSION["f"] = fn () => 1;
            try { session_write_close(); } catch (Exception $e) { gate($e->getMessage()); }' . $next, $id);
        $request->await("Serialization of 'Closure' is not allowed")->resume()->await('next');
        $this->assertFree($id);
        $request->resume()->output();
        $this->assertSame(['php' => 'n|i:1;'], $this->stored($id));
    }

    /** An app that may only write the key php can empty a session without other keys. */
    public function testOnlyExistingKeysAreRemoved(): void
    {
        $format = new \SessionServer\PhpFormat();
        $this->assertSame('data', $format->load(['data', null, null, null]));
        $this->assertSame([['remove', 'php']], $format->save(''));
        $format->load(['da', 'ta', null, null]);
        $this->assertSame([['remove', 'php', 'php.1']], $format->save(''));
    }

    /** PHP refuses a handler during a session. The application must not continue with PHP's own files. */
    public function testRegisterTooLate(): void
    {
        $result = $this->request('session_start(); try { SessionServer\SaveHandler::register(); }
            catch (LogicException $e) { return $e->getMessage(); }', '', '', ['error_reporting' => '0']);
        $this->assertStringContainsString('before session_start()', $result->result);
    }
}
