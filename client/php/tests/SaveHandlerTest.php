<?php

declare(strict_types=1);

namespace SessionServer\Tests;

use SessionServer\Exception\LockTimeoutException;

/**
 * What PHP really does with sessions, in processes of its own.
 */
final class SaveHandlerTest extends SessionTestCase
{
    public function testNewSession(): void
    {
        $r = $this->request('session_start(); $_SESSION["user"] = "alice"; session_write_close();');
        $this->assertMatchesRegularExpression('/^[0-9a-f]{32}$/', $r->id);
        $this->assertSame(2, $r->roundTrips);
        $this->assertSame(['php' => 'user|s:5:"alice";'], $this->stored($r->id));
        $this->assertSame(['user' => 'alice'], $this->request('session_start();', $r->id)->session);
        $this->assertFree($r->id);
    }

    public function testNothingIsStoredForAnIdThatIsNeverWritten(): void
    {
        $r = $this->request('session_start(); $_SESSION["a"] = 1; $id = session_id(); session_abort(); return $id;');
        $this->assertGone($r->result);
    }

    /** @return array<array{array<string, string|int>, string}> */
    public function waysToSerialize(): array
    {
        $ways = [[['session.serialize_handler' => 'php'], ''], [['session.serialize_handler' => 'php_serialize'], ''],
            [['session.serialize_handler' => 'php_serialize'], 'format=json'], [['session.serialize_handler' => 'php'], 'format=json'],
            [['session.serialize_handler' => 'php_binary'], '']];
        return extension_loaded('igbinary') ? [...$ways, [['session.serialize_handler' => 'igbinary'], '']] : $ways;
    }

    /**
     * Whoever only looks takes no room on the server.
     *
     * @dataProvider waysToSerialize
     */
    public function testASessionThatStaysEmptyIsNotStored(array $ini, string $query): void
    {
        foreach ([1, 0] as $lazy) {
            foreach (['', '$_SESSION["a"] = 1; unset($_SESSION["a"]);', '$_SESSION["a"] = 1; session_unset();'] as $code) {
                $r = $this->request("session_start(); $code", '', $query, $ini + ['session.lazy_write' => $lazy]);
                $this->assertSame([2, []], [$r->roundTrips, $r->session]);
                $this->assertGone($r->id);
                $adopted = bin2hex(random_bytes(16));
                $r = $this->request("ini_set('session.use_strict_mode', '0'); session_id('$adopted'); session_start(); $code", '', $query, $ini + ['session.lazy_write' => $lazy]);
                $this->assertSame([2, $adopted], [$r->roundTrips, $r->id]);
                $this->assertGone($adopted);
            }
            $r = $this->request('session_start(); $old = session_id(); session_regenerate_id(true); return $old;', '', $query, $ini + ['session.lazy_write' => $lazy]);
            $this->assertGone($r->result);
            $this->assertGone($r->id);
        }
    }

    /**
     * One that has been emptied is another matter: its visitor keeps the id for a while.
     *
     * @dataProvider waysToSerialize
     */
    public function testAnEmptiedSessionIsStoredForAShortTimeOnly(array $ini, string $query): void
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
        $this->assertSame([['b' => 2], $id], [$this->request('session_start();', $id, $query, $ini)->session, $r->id]);
    }

    public function testResumeUnchangedTouchesOnly(): void
    {
        $id = $this->session();
        $before = $this->version($id);
        $r = $this->request('session_start();', $id);
        $this->assertSame([$id, ['n' => 1], 2], [$r->id, $r->session, $r->roundTrips]);
        $r = $this->request('session_start();', $id, '', ['session.lazy_write' => 0]); // write() with what is there already
        $this->assertSame(['n' => 1], $r->session);
        $this->assertSame($before, $this->version($id));
        $this->assertFree($id);
    }

    public function testResumeChanged(): void
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
        $request = $this->start('session_start(["read_and_close" => true]); $_SESSION["n"] = 9; gate("closed");', $id)->await('closed');
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
        foreach (['short', str_repeat('x', 257), "space in the middle", "umlaut-\u{fc}-0123456789"] as $bad) {
            $r = $this->request('session_start(); $_SESSION["a"] = 1;', $bad);
            $this->assertSame([32, 2], [strlen($r->id), $r->roundTrips]);
        }
    }

    /**
     * Without strict mode PHP takes the id that the visitor sends, in a tenant that is not strict either: not without
     * a warning.
     */
    public function testUnknownIdNotStrict(): void
    {
        $r = $this->start('ini_set("session.use_strict_mode", "0"); session_start(); $_SESSION["a"] = 1;', str_repeat('b', 32))->finish();
        $this->assertSame([str_repeat('b', 32), 2], [$r->id, $r->roundTrips]);
        $this->assertStringContainsString('Warning: sessionserver: new session under an id from the visitor', $r->printed);
        $this->assertSame(['a' => 1], $this->request('session_start();', str_repeat('b', 32))->session);
        $this->request('ini_set("session.use_strict_mode", "0"); session_start();', str_repeat('b', 32)); // it is known now
        $this->start('ini_set("session.use_strict_mode", "0"); session_start(["read_and_close" => true]);', str_repeat('c', 32))->finish();
        $this->assertGone(str_repeat('c', 32));
    }

    public function testBurntIdNotStrict(): void
    {
        $id = $this->session();
        $this->request('session_start(); session_destroy();', $id);
        $r = $this->start('ini_set("session.use_strict_mode", "0"); session_start(); $_SESSION["a"] = 1;', $id)->finish();
        $this->assertStringContainsString('not saved: the session has ended', $r->printed);
        $this->assertStringContainsString('session.use_strict_mode = 1', $r->printed);
        $this->assertGone($id);
    }

    /** @dataProvider wrappers */
    public function testRegenerateKeepingTheOld(string $wrap): void
    {
        $id = $this->session();
        $r = $this->request("$wrap session_start(); \$_SESSION['n'] = 2; session_regenerate_id(false); \$_SESSION['n'] = 3;", $id);
        $this->assertNotSame($id, $r->id);
        $this->assertSame(['php' => 'n|i:2;'], $this->stored($id));
        $this->assertSame(['php' => 'n|i:3;'], $this->stored($r->id));
    }

    public function testRegenerate(): void
    {
        $id = $this->session();
        $request = $this->start('session_start(); $_SESSION["n"] = 2; session_regenerate_id(true); $_SESSION["m"] = 3; gate("moved"); session_write_close();', $id);
        $request->await('moved');
        // The browser has sent the old cookie once more before it got the new one: its request waits and sees the
        // session.
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

    public function testRegenerateOfANewSession(): void
    {
        $r = $this->request('session_start(); $_SESSION["a"] = 1; $old = session_id(); session_regenerate_id(true); return $old;', '', 'grace=0');
        $this->assertNotSame($r->result, $r->id);
        $this->assertSame(['php' => 'a|i:1;'], $this->stored($r->id));
        $this->assertGone($r->result);
    }

    public function testRegenerateTwiceAndDestroy(): void
    {
        $id = $this->session();
        $r = $this->request('session_start(); session_regenerate_id(true); session_regenerate_id(true); $id = session_id(); session_destroy(); return $id;', $id);
        $this->assertGone($r->result);
        $this->assertGone($id);
    }

    /** A handler around ours that passes on what every handler has, and not create_sid, as Symfony's does. */
    public function wrappers(): array
    {
        return ['ours' => [''], 'wrapped' => [self::WRAP]];
    }

    private const WRAP = <<<'PHP'
        session_set_save_handler(new class($handler) implements SessionHandlerInterface, SessionUpdateTimestampHandlerInterface {
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
    public function testRegenerateThroughAWrapperDestroysTheOldAtOnce(string $strict): void
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
        $r = $this->request('session_start(); $new = session_create_id("user-"); $_SESSION["n"] = 2; session_write_close(); return $new;', $id);
        $this->assertMatchesRegularExpression('/^user-[0-9a-f]{32}$/', $r->result);
        $this->assertSame([$id, 2], [$r->id, $r->roundTrips]);
        $this->assertGone($r->result);
        $r = $this->request('session_start(); $new = session_create_id("user-"); session_write_close();
            ini_set("session.use_strict_mode", "0"); session_id($new); session_start(); $_SESSION["x"] = 1; return $new;', $id);
        $this->assertSame($r->result, $r->id);
        $this->assertSame(['php' => 'x|i:1;'], $this->stored($r->id));
    }

    public function testReset(): void
    {
        $id = $this->session();
        $r = $this->request('session_start(); $_SESSION["n"] = 99; session_reset(); $n = $_SESSION["n"]; $_SESSION["m"] = 2; return $n;', $id);
        $this->assertSame([1, ['n' => 1, 'm' => 2], $id], [$r->result, $r->session, $r->id]);
        $this->assertSame(['php' => 'n|i:1;m|i:2;'], $this->stored($id));
        $r = $this->request('session_start(); $id = session_id(); $_SESSION["n"] = 99; session_reset(); $_SESSION["m"] = 2; return $id;');
        $this->assertSame([$r->result, ['m' => 2]], [$r->id, $r->session]);
    }

    public function testAbort(): void
    {
        $id = $this->session();
        $request = $this->start('session_start(); $_SESSION["n"] = 99; session_abort(); gate("aborted");', $id)->await('aborted');
        $this->assertFree($id);
        $request->resume()->finish();
        $this->assertSame(['php' => 'n|i:1;'], $this->stored($id));
    }

    public function testDestroy(): void
    {
        $id = $this->session();
        $this->assertSame(2, $this->request('session_start(); session_destroy();', $id)->roundTrips);
        $this->assertGone($id);
        $r = $this->request('session_start(); session_destroy(); session_start(); $_SESSION["fresh"] = 1;', $this->session());
        $this->assertSame(['php' => 'fresh|i:1;'], $this->stored($r->id));
        $r = $this->request('session_start(); $_SESSION["a"] = 1; $id = session_id(); session_destroy(); return $id;');
        $this->assertGone($r->result);
    }

    public function testALateRequestCannotBringADestroyedSessionBack(): void
    {
        $id = $this->session();
        $logout = $this->start('session_start(); gate("in"); session_destroy();', $id)->await('in');
        $late = $this->start('session_start(); $_SESSION["late"] = 1;', $id);
        self::$server->awaitWaiter();
        $logout->resume()->finish();
        $r = $late->finish();
        $this->assertNotSame($id, $r->id);
        $this->assertSame(['late' => 1], $r->session);
        $this->assertGone($id);
    }

    /**
     * exit and errors end a script as its end does: PHP saves what is in $_SESSION. The handler must be as good as
     * PHP's own.
     */
    public function testEndsThatPhpSeesSaveLikePhpsOwnHandler(): void
    {
        $dir = self::$server->dir . '/files';
        mkdir($dir);
        foreach (['exit(0);', 'undefined_function();', 'eval("class A { abstract function f(); }");',
            'ini_set("memory_limit", "8M"); str_repeat("x", 100_000_000);', 'set_time_limit(1); while (true);'] as $end) {
            $code = "session_start(); \$_SESSION['n'] = 2; $end";
            $id = $this->session();
            $output = $this->start($code, $id)->output();
            $this->assertFree($id);
            $ours = $this->stored($id)['php'];

            file_put_contents("$dir/sess_$id", 'n|i:1;');
            $this->start("session_set_save_handler(new SessionHandler(), true); session_save_path('$dir'); $code", $id, 'mode=r')->output();
            $theirs = file_get_contents("$dir/sess_$id");
            $this->assertSame($theirs, $ours, $end . $output);
        }
    }

    /**
     * @testWith [""]
     *           ["persistent=1"]
     */
    public function testAKilledPhpLeavesNothing(string $query): void
    {
        $id = $this->session();
        $request = $this->start('session_start(); $_SESSION["n"] = 2; gate("in");', $id, $query)->await('in');
        $request->kill();
        $this->assertFree($id);
        $this->assertSame(['php' => 'n|i:1;'], $this->stored($id));
    }

    public function testAKilledPhpThatWaitedForTheLockIsOutOfTheQueue(): void
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
        $code = '$_SESSION["bytes"] = implode("", array_map("chr", range(0, 255))) . "\r\n\0*3\r\n$-1\r\n"; $_SESSION["emoji \u{1f600}"] = "\u{1f468}\u{200d}\u{1f469}";';
        $id = $this->session($code);
        $r = $this->request('session_start();', $id);
        $this->assertSame(implode('', array_map('chr', range(0, 255))) . "\r\n\0*3\r\n$-1\r\n", $r->session['bytes']);
        $this->assertSame("\u{1f468}\u{200d}\u{1f469}", $r->session["emoji \u{1f600}"]);
    }

    /** More than the server takes as one value, and nearly as much as it takes as one session. */
    public function testBigSessions(): void
    {
        foreach ([1 << 20, 4_000_000] as $size) {
            $id = $this->session("\$_SESSION['big'] = str_repeat(\"0123456789abcde\\n\", $size >> 4);");
            $r = $this->request('session_start(); $_SESSION["big"][0] = "X"; return md5($_SESSION["big"]);', $id);
            $this->assertSame(md5('X' . substr(str_repeat("0123456789abcde\n", $size >> 4), 1)), $r->result);
            $this->assertSame($r->result, $this->request('session_start(); return md5($_SESSION["big"]);', $id)->result);
            $r = $this->request('session_start(); $_SESSION = ["small" => 1];', $id);
            $this->assertSame(2, $r->roundTrips);
            $this->assertSame(['small' => 1], $this->request('session_start();', $id)->session);
            $this->request('session_start(); $_SESSION = [];', $id);
            $this->assertSame([], $this->stored($id));
        }
    }

    public function testTooLargeIsAnErrorAndLosesNothing(): void
    {
        $id = $this->session();
        $r = $this->start('session_start(); $_SESSION["big"] = str_repeat("x", 5_000_000);
            try { session_write_close(); } catch (SessionServer\Exception\TooLargeException $e) { return $e->getMessage(); }', $id)->finish();
        $this->assertStringStartsWith('sessionserver: put: TOOLARGE ', $r->result);
        $this->assertSame(['php' => 'n|i:1;'], $this->stored($id));
        $this->assertFree($id);
    }

    /** @return array<string, array{string, string, string}> what is stored, and the limit that it passes */
    public function limits(): array
    {
        $session = 'TOOLARGE too large: the session would have ';
        return [
            'session' => ['$_SESSION["big"] = str_repeat("x", 4_300_000);', 'format=php', $session],
            'large session' => ['$_SESSION["big"] = str_repeat("x", 20_000_000);', 'format=php', $session],
            'session of JSON' => ['$_SESSION = array_fill(0, 9, str_repeat("x", 600_000));', 'format=json', $session],
            'value of JSON' => ['$_SESSION["big"] = str_repeat("x", 4_300_000);', 'format=json', 'TOOLARGE a value has at most 1048576 bytes'],
            'keys of JSON' => ['$_SESSION = range(0, 1099);', 'format=json', 'TOOLARGE too large: a session has at most 1024 keys'],
        ];
    }

    /** @dataProvider limits */
    public function testTheLimitThatWasPassedIsNamed(string $code, string $query, string $limit): void
    {
        $id = $this->session('$_SESSION["n"] = 1;', $query);
        $stored = $this->stored($id);
        $r = $this->request("session_start(); $code" . 'try { session_write_close(); }
            catch (SessionServer\Exception\TooLargeException $e) { return [strlen(session_encode() ?: ""), $e->getMessage()]; }', $id, $query);
        $this->assertStringContainsString($limit, $r->result[1]);
        $this->assertMatchesRegularExpression('/ \(the session has [0-9]+ bytes\)$/D', $r->result[1]);
        if (str_contains($limit, 'would have')) {
            $this->assertStringContainsString('(allowed: 4194304)', $r->result[1]);
        }
        $this->assertSame($stored, $this->stored($id));
    }

    public function testLimitsThatAreLargerThanUsual(): void
    {
        foreach (['value: 8MiB, request: 32MiB' => null, '' => 'TOOLARGE a value has at most 1048576 bytes'] as $limits => $message) {
            self::$server = new Server('session: {max_bytes: 32MiB' . ($limits === '' ? '' : ', max_value: 8MiB') . "}\nlimits: {{$limits}}");
            try {
                $r = $this->request('session_start(); $_SESSION["big"] = str_repeat("0123456789", 2_000_000);
                    try { session_write_close(); } catch (SessionServer\Exception\TooLargeException $e) { return $e->getMessage(); }');
                if ($message !== null) {
                    $this->assertStringContainsString($message, $r->result);
                    continue;
                }
                $this->assertNull($r->result);
                $code = 'session_start(); $sum = md5($_SESSION["big"]); $_SESSION["big"] = str_repeat("x", 3_000_000); return $sum;';
                $this->assertSame(md5(str_repeat('0123456789', 2_000_000)), $this->request($code, $r->id)->result);
                $this->assertSame(3_000_000, $this->request('session_start(); return strlen($_SESSION["big"]);', $r->id)->result);
            } finally {
                self::$server = new Server();
            }
        }
    }

    public function testSettingsThatHaveNoEffectAreLogged(): void
    {
        $start = 'session_start(); $_SESSION["n"] = 1; return strlen(session_id());';
        $r = $this->start($start, '', '', ['session.sid_length' => 64, 'session.sid_bits_per_character' => 6, 'session.gc_maxlifetime' => 7200])->finish();
        $this->assertSame(32, $r->result);
        $this->assertStringContainsString('session.sid_length = 64 and session.sid_bits_per_character = 6 are ignored, since the server creates ids', $r->printed);
        $this->assertStringContainsString('session.gc_maxlifetime = 7200 is ignored', $r->printed);
        $this->request($start, $r->id, '', ['session.sid_length' => 64]); // for a new session only
        foreach ([[32, 4], [26, 5]] as [$length, $bits]) {
            $this->request($start, '', 'lifetime=7200', ['session.sid_length' => $length, 'session.sid_bits_per_character' => $bits, 'session.gc_maxlifetime' => 7200]);
        }
        // An application with functions of its own has ids as it has set them.
        $r = $this->request('session_set_save_handler(...array_fill(0, 2, fn () => true), ...[fn () => ""], ...array_fill(0, 3, fn () => true));
            session_start(); return session_id();', '', '', ['session.sid_length' => 64, 'session.sid_bits_per_character' => 4]);
        $this->assertMatchesRegularExpression('/^[0-9a-f]{64}$/D', $r->result);
    }

    /**
     * @testWith ["", ""]
     *           ["", "lifetime=50"]
     *           ["", "format=json"]
     *           ["session_regenerate_id(true);", ""]
     *           ["session_regenerate_id(false);", "grace=0"]
     */
    public function testARefusedFirstSaveLeavesNothing(string $code, string $query): void
    {
        $r = $this->start("session_start(); $code \$_SESSION['big'] = str_repeat('x', 5_000_000); \$id = session_id();
            try { session_write_close(); } catch (SessionServer\Exception\TooLargeException \$e) { return [\$id, \$e->getMessage()]; }", '', $query)->finish();
        $this->assertStringStartsWith('sessionserver: put: TOOLARGE ', $r->result[1]);
        $this->assertSame('', $r->printed);
        $this->assertGone($r->result[0]);
    }

    /** An id that the server has not made: what it had before stays, and it can be used later. */
    public function testARefusedSaveOfAnAdoptedSession(): void
    {
        $id = bin2hex(random_bytes(16));
        $start = fn (string $id) => "ini_set('session.use_strict_mode', '0'); session_id('$id'); session_start(); ";
        $code = '$_SESSION["big"] = str_repeat("x", 5_000_000);
            try { session_write_close(); } catch (SessionServer\Exception\TooLargeException $e) { return 1; }';
        $this->assertSame(1, $this->request($start($id) . $code)->result);
        $this->assertGone($id);
        $json = bin2hex(random_bytes(16)); // where the change and the end of the session go together
        $this->assertSame(1, $this->request($start($json) . $code, '', 'format=json')->result);
        $this->assertSame([], $this->stored($json));
        $this->request($start($id) . '$_SESSION["n"] = 1;');
        $this->assertSame(1, $this->request($start($id) . $code)->result);
        $this->assertSame(['php' => 'n|i:1;'], $this->stored($id));
        $client = self::$server->client();
        $client->open($other = bin2hex(random_bytes(16)), 'rw');
        $client->put('of another language', '1');
        $client->close();
        $this->assertSame(1, $this->request($start($other) . $code)->result);
        $this->assertSame(['of another language' => '1'], $this->stored($other));
    }

    public function testAKeyThatPhpCannotSerializeLosesNothing(): void
    {
        $r = $this->start('session_start(); $_SESSION["a|b"] = 1; $id = session_id();
            try { session_write_close(); } catch (SessionServer\Exception\EncodingException $e) { return [$id, $e->getMessage()]; }')->finish();
        $this->assertStringContainsString("\$_SESSION['a|b']", $r->result[1]);
        $this->assertGone($r->result[0]);
        $id = $this->session();
        $r = $this->start('session_start(); $_SESSION["a|b"] = 1;
            try { session_write_close(); } catch (SessionServer\Exception\EncodingException $e) { return $e->getMessage(); }', $id)->finish();
        $this->assertStringContainsString("\$_SESSION['a|b']", $r->result);
        $this->assertSame(['php' => 'n|i:1;'], $this->stored($id));
        $r = $this->start('session_start(); $_SESSION["c"] = function () {};
            try { session_write_close(); } catch (Exception $e) { $message = $e->getMessage(); }
            session_start(); $_SESSION["d"] = 1; return $message;', $id)->finish();
        $this->assertStringContainsString('Closure', $r->result); // PHP itself refuses that
        $this->assertSame(['n' => 1, 'd' => 1], $r->session);
    }

    public function testLockTimeoutFails(): void
    {
        $id = $this->session();
        $holder = self::$server->client();
        $holder->open($id, 'u');
        $r = $this->start('ob_start(); try { session_start(); } catch (SessionServer\Exception\LockTimeoutException $e) {
            return [$e->errorCode, session_status()]; }', $id, 'lock_timeout=0.02')->finish();
        $this->assertSame(['LOCKTIMEOUT', PHP_SESSION_NONE], $r->result);
        $this->assertStringNotContainsString('Warning', $r->printed);
        // and when nobody catches it
        $this->assertStringContainsString('Uncaught ' . LockTimeoutException::class . ': sessionserver: open: LOCKTIMEOUT ',
            $this->start('session_start();', $id, 'lock_timeout=0')->output());
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
        $this->assertStringContainsString('Warning: sessionserver: the session was not saved: another request has its lock', $r->printed);
        foreach (['session_destroy();' => 'LockTimeoutException', 'session_regenerate_id(true);' => 'ReadOnlyException'] as $code => $class) {
            $this->assertStringContainsString("Uncaught SessionServer\\Exception\\$class", $this->start("session_start(); $code", $id, $query)->output());
        }
        $this->assertSame(['php' => 'n|i:1;'], $this->stored($id));
        $other = self::$server->client();
        $new = $other->new(); // there is nothing to read yet
        $this->assertStringContainsString('LockTimeoutException', $this->start('ini_set("session.use_strict_mode", "0"); session_start();', $new, $query)->output());
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
        $this->assertStringContainsString('READONLY', $this->start('session_start(); session_destroy();', $id, 'mode=r')->output());
        $holder->close();
        $this->assertSame(['php' => 'n|i:1;'], $this->stored($id));
        $r = $this->request('session_start(); return session_id();', '', 'mode=r'); // a visitor without a session
        $this->assertGone($r->result);
        $r = $this->request('session_start();', str_repeat('d', 32), 'mode=r'); // the cookie stays: its session may just not be saved yet
        $this->assertSame([[], str_repeat('d', 32), 1], [$r->session, $r->id, $r->roundTrips]);
        $r = $this->start('$handler->write(str_repeat("d", 32), "x");', '', 'mode=r')->finish();
        $this->assertStringContainsString('not saved: the DSN has mode=r', $r->printed);
    }

    public function testLifetime(): void
    {
        $r = $this->request('session_start(); $_SESSION["a"] = 1;', '', 'lifetime=77');
        $adopted = $this->request('ini_set("session.use_strict_mode", "0"); session_id(bin2hex(random_bytes(16))); session_start(); $_SESSION["a"] = 1;', '', 'lifetime=78');
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
            $slow = $this->start('session_start(); $_SESSION["n"] = "slow"; gate("in"); session_write_close();', $id)->await('in');
            $this->request('session_start(); $_SESSION["n"] = "next";', $id);
            $this->assertStringContainsString('LockLostException: sessionserver: put: LOCKLOST ', $slow->resume()->output());
            $this->assertSame(['php' => 'n|s:4:"next";'], $this->stored($id));
            // nothing to save, nothing to complain about
            $slow = $this->start('session_start(); gate("in");', $id)->await('in');
            $this->request('session_start(); $_SESSION["n"] = "again";', $id);
            $this->assertSame('', $slow->resume()->finish()->printed);
            // logging out works whoever has the lock, and so does nothing else
            $slow = $this->start('session_start(); gate("in"); session_regenerate_id(true);', $id)->await('in');
            $this->request('session_start(); $_SESSION["n"] = "third";', $id);
            $this->assertStringContainsString('LockLostException: sessionserver: regenerate_id: LOCKLOST ', $slow->resume()->output());
            $slow = $this->start('session_start(); gate("in"); session_destroy();', $id)->await('in');
            $this->request('session_start(); $_SESSION["n"] = "fourth";', $id);
            $slow->resume()->finish();
            $this->assertGone($id);
        } finally {
            self::$server = new Server();
        }
    }

    public function testAServerWithoutGrace(): void
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

    public function testAStrictTenant(): void
    {
        self::$server = new Server('session: {strict: true}');
        try {
            $id = $this->session();
            $this->assertSame(['n' => 1], $this->request('session_start();', $id)->session);
            $r = $this->start('ini_set("session.use_strict_mode", "0"); session_start(); $_SESSION["a"] = 1;', str_repeat('e', 32))->finish();
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
        $this->assertStringContainsString('DSN in /nowhere: the file cannot be read: No such file or directory', (new Request('file:///nowhere', 'session_start();'))->output());
        foreach (['session_start();', 'session_set_save_handler(new SessionServer\SaveHandler(), true); session_start();'] as $code) {
            $output = (new Request('', $code))->output();
            $this->assertStringContainsString('session.save_path: empty (set it to a DSN such as tls://', $output);
        }
    }

    public function testWithoutRegister(): void
    {
        $r = $this->request('session_set_save_handler(new SessionServer\SaveHandler(), true); session_start(); $_SESSION["a"] = 1;');
        $this->assertSame(['php' => 'a|i:1;'], $this->stored($r->id));
    }

    /** Laravel has sessions of its own and calls read, write and destroy only. */
    public function testCalledAsLaravelDoes(): void
    {
        [$first, $second] = [bin2hex(random_bytes(20)), bin2hex(random_bytes(20))];
        $code = fn (string $code) => '$dsn = ' . var_export(self::$server->dsn(), true) . '; $h = new SessionServer\SaveHandler($dsn); ' . $code;
        $r = $this->request($code("\$empty = \$h->read('$first'); \$h->write('$first', 'data'); return [\$empty, \$h->roundTrips()];"));
        $this->assertSame(['', 2], $r->result);
        $this->assertSame(['php' => 'data'], $this->stored($first));
        $this->assertFree($first);
        $r = $this->request($code("\$data = \$h->read('$first'); \$h->destroy('$first'); \$h->write('$second', \$data . ' moved'); return \$data;"));
        $this->assertSame('data', $r->result);
        $this->assertSame(['php' => 'data moved'], $this->stored($second));
        $this->assertGone($first);
        // saves twice, the second time what is shorter, and nothing
        $this->request($code("\$h->write('$second', str_repeat('x', 3_000_000)); \$h->write('$second', 'short');"));
        $this->assertSame('short', $this->request($code("return \$h->read('$second');"))->result);
        $this->request($code("\$h->write('$second', '');"));
        $this->assertSame([], $this->stored($second));
    }

    /** A handler that reads and validates elsewhere, and writes and destroys here as well. */
    private const ELSEWHERE = <<<'PHP'
        session_set_save_handler($elsewhere = new class($handler) implements SessionHandlerInterface, SessionUpdateTimestampHandlerInterface {
            public static $stored = [];
            public function __construct(private $inner) {}
            public function open($path, $name): bool { return $this->inner->open($path, $name); }
            public function close(): bool { return $this->inner->close(); }
            public function read($id): string|false { return self::$stored[$id] ?? ''; }
            public function validateId($id): bool { return isset(self::$stored[$id]); }
            public function write($id, $data): bool { self::$stored[$id] = $data; return $this->inner->write($id, $data); }
            public function updateTimestamp($id, $data): bool { return $this->inner->updateTimestamp($id, $data); }
            public function destroy($id): bool { unset(self::$stored[$id]); return $this->inner->destroy($id); }
            public function gc($max): int|false { return 0; }
        }, true);
        PHP;

    /**
     * @testWith ["", "0"]
     *           ["", "1"]
     *           ["format=json", "1"]
     */
    public function testWritesWithoutRead(string $query, string $lazy): void
    {
        $r = $this->request(self::ELSEWHERE . "ini_set('session.lazy_write', '$lazy');" . <<<'PHP'
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

    /** What was begun elsewhere comes here even if it does not change. */
    public function testAnUnchangedSessionIsWrittenWhereItIsNot(): void
    {
        $id = bin2hex(random_bytes(16));
        $this->request(self::ELSEWHERE . "ini_set('session.lazy_write', '1'); \$elsewhere::\$stored['$id'] = 'n|i:5;'; session_start();", $id);
        $this->assertSame(['php' => 'n|i:5;'], $this->stored($id));
    }

    public function testDestroysWithoutRead(): void
    {
        $id = $this->session();
        $this->request(self::ELSEWHERE . 'ini_set("session.use_strict_mode", "0"); session_start(); session_destroy();', $id);
        $this->assertGone($id);
        $id = $this->session();
        $r = $this->request(self::ELSEWHERE . 'ini_set("session.use_strict_mode", "0"); session_start(); session_regenerate_id(true); $_SESSION["n"] = 7;', $id);
        $this->assertGone($id);
        $this->assertSame(['php' => 'n|i:7;'], $this->stored($r->id));
        $this->request(self::ELSEWHERE . 'ini_set("session.use_strict_mode", "0"); session_start(); session_destroy();', bin2hex(random_bytes(16)));
    }

    /** A handler around this one that goes on after a failure to read does not overwrite what others save. */
    public function testNoWriteOfASessionThatCouldNotBeRead(): void
    {
        $id = $this->session();
        $holder = self::$server->client();
        $holder->open($id, 'u');
        $r = $this->start(str_replace('read($id): string|false { return',
            'read($id): string|false { try { return $this->inner->read($id); } catch (Exception) {} return', self::ELSEWHERE)
            . 'ini_set("session.use_strict_mode", "0"); session_start(); gate("in"); $_SESSION["lost"] = 1;
            try { session_write_close(); } catch (SessionServer\Exception\ConnectionException $e) { return $e->getMessage(); }', $id, 'lock_timeout=0')->await('in');
        $holder->abort();
        $this->assertStringContainsString('the session is no longer open, nothing was saved', $r->resume()->finish()->result);
        $this->assertSame(['php' => 'n|i:1;'], $this->stored($id));
    }

    /**
     * An application that knows nothing of this handler sets functions of its own, where it was registered before.
     * Some of it stays with PHP and has nothing to say then.
     *
     * @testWith [6]
     *           [7]
     *           [8]
     *           [9]
     */
    public function testAnApplicationWithFunctionsOfItsOwn(int $count): void
    {
        $file = self::$server->dir . "/own-$count";
        $code = "\$file = '$file';" . '$data = fn () => is_file($file) ? json_decode(file_get_contents($file), true) : [];
            $functions = [fn () => true, fn () => true, fn ($id) => $data()[$id] ?? "",
                fn ($id, $value) => (bool) file_put_contents($file, json_encode([$id => $value, "writes" => 1 + ($data()["writes"] ?? 0)] + $data())),
                fn ($id) => (bool) file_put_contents($file, json_encode(array_diff_key($data(), [$id => 1]))), fn () => 0,
                fn () => bin2hex(random_bytes(16)), fn ($id) => isset($data()[$id]),
                fn ($id, $value) => (bool) file_put_contents($file, json_encode(["writes" => 1 + ($data()["writes"] ?? 0)] + $data()))];
            session_set_save_handler(...array_slice($functions, 0, ' . $count . '));';
        $first = $this->request("$code session_start(); \$_SESSION['n'] = 1;");
        $this->assertSame(0, $first->roundTrips);
        $second = $this->request("$code session_start(); \$n = \$_SESSION['n'] ?? 0; session_write_close(); return [\$n, \$data()['writes']];", $first->id);
        $this->assertSame([$first->id, [1, 2], 0], [$second->id, $second->result, $second->roundTrips]); // an unchanged session is prolonged
        $third = $this->request("$code session_start(); session_regenerate_id(true); \$_SESSION['n']++; session_create_id('x-');", $first->id);
        $this->assertNotSame($first->id, $third->id);
        $fourth = $this->request("$code session_start(); \$n = \$_SESSION; session_destroy(); return \$n;", $third->id);
        $this->assertSame([['n' => 2], 0], [$fourth->result, $third->roundTrips]);
        $this->assertGone($first->id);
    }

    /**
     * PHP ends such a session without a call to any handler.
     *
     * @testWith ["$c = new SessionServer\\Client(ini_get('session.save_path')); $c->ping(); gate('next');"]
     *           ["session_id(bin2hex(random_bytes(16))); session_start(); gate('next'); $_SESSION = [];"]
     *           ["register_shutdown_function(fn () => gate('next')); exit;"]
     */
    public function testAValueThatCannotBeSerializedLeavesNoLock(string $next): void
    {
        $id = $this->session();
        $request = $this->start('session_start(); $_SESSION["f"] = fn () => 1;
            try { session_write_close(); } catch (Exception $e) { gate($e->getMessage()); }' . $next, $id);
        $request->await("Serialization of 'Closure' is not allowed")->resume()->await('next');
        $this->assertFree($id);
        $request->resume()->output();
        $this->assertSame(['php' => 'n|i:1;'], $this->stored($id));
    }

    /** An app that may write the key php alone can empty a session that has no other key. */
    public function testOnlyWhatIsThereIsRemoved(): void
    {
        $format = new \SessionServer\PhpFormat();
        $this->assertSame('data', $format->load(['data', null, null, null]));
        $this->assertSame([['remove', 'php']], $format->save(''));
        $format->load(['da', 'ta', null, null]);
        $this->assertSame([['remove', 'php', 'php.1']], $format->save(''));
    }

    /** PHP takes no handler while a session is active: nobody must go on with PHP's own files without knowing. */
    public function testRegisterTooLate(): void
    {
        $result = $this->request('session_start(); try { SessionServer\SaveHandler::register(); } catch (LogicException $e) { return $e->getMessage(); }',
            '', '', ['error_reporting' => '0']);
        $this->assertStringContainsString('before session_start()', $result->result);
    }
}
