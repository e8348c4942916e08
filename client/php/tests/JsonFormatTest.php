<?php

declare(strict_types=1);

namespace SessionServer\Tests;

/**
 * Sessions that are shared with other languages.
 */
final class JsonFormatTest extends SessionTestCase
{
    protected function start(string $code, string $cookie = '', string $query = '', array $ini = []): Request
    {
        return parent::start($code, $cookie, 'format=json', $ini);
    }

    public function testValues(): void
    {
        $r = $this->request('session_start(); $_SESSION = ["null" => null, "true" => true, "int" => PHP_INT_MAX,
            "float" => 1.0, "third" => 1 / 3, "text" => "a/b \u{1f600} \u{2028}", "list" => [1, [2]],
            "map" => ["a" => ["b" => 1.5], "7" => 0], "empty" => [], "a b|c" => "", "" => "no name", "7" => 7];');
        $this->assertSame(2, $r->roundTrips);
        $this->assertSame(['null' => 'null', 'true' => 'true', 'int' => '9223372036854775807', 'float' => '1.0',
            'third' => '0.3333333333333333', 'text' => "\"a/b \u{1f600} \u{2028}\"", 'list' => '[1,[2]]',
            'map' => '{"a":{"b":1.5},"7":0}', 'empty' => '[]', 'a b|c' => '""', '' => '"no name"', 7 => '7'],
            $this->stored($r->id));
        $again = $this->request('session_start(); return session_encode();', $r->id);
        $this->assertSame($r->session, $again->session);
        $this->assertSame(serialize($r->session), $again->result);
        $this->assertSame(1, $this->version($r->id));
    }

    public function testOnlyChangesAreSent(): void
    {
        $id = $this->session('$_SESSION = ["same" => [1, 2], "changed" => 1, "foreign" => 5];');
        $client = self::$server->client();
        $client->open($id, 'u');
        $client->put('foreign', '{"a" : 1, "b": [ ]}'); // the format of another language
        $client->expire('same', 1000);
        $client->close();
        $r = $this->request('session_start(); $_SESSION["changed"]++; $_SESSION["added"] = true;', $id);
        $this->assertSame(2, $r->roundTrips);
        $stored = ['same' => '[1,2]', 'changed' => '2', 'foreign' => '{"a" : 1, "b": [ ]}', 'added' => 'true'];
        $this->assertSame($stored, $this->stored($id));
        $r = $this->request('session_start(); unset($_SESSION["foreign"]);', $id);
        $this->assertSame(2, $r->roundTrips);
        $r = $this->request('session_start(); unset($_SESSION["added"]); $_SESSION["changed"]++;', $id);
        $this->assertSame(3, $r->roundTrips); // the session is closed after the replies to both changes
        $this->assertSame(['same' => '[1,2]', 'changed' => '3'], $this->stored($id));
        $before = $this->version($id);
        $this->request('session_start(); $_SESSION["changed"] = 3;', $id);
        $this->assertSame($before, $this->version($id));
    }

    /** @return array<array{string, string, string}> */
    public function unsupported(): array
    {
        return [
            ['$_SESSION["o"] = new ArrayObject([1]);', "['o']", 'an object (ArrayObject)'],
            ['$_SESSION["o"] = new stdClass();', "['o']", 'an object (stdClass)'],
            ['$_SESSION["cart"]["items"][3] = new DateTime();', "['cart']['items'][3]", 'an object (DateTime)'],
            ['$_SESSION["f"] = STDIN;', "['f']", 'a resource'],
            ['$_SESSION["s"] = "\xff";', "['s']", 'a string that is not UTF-8'],
            ['$_SESSION["s"] = ["\xff" => 1];', "['s']", 'a key that is not UTF-8'],
            ['$_SESSION["x"]["y"] = NAN;', "['x']['y']", 'NAN or INF'],
            ['$_SESSION["x"] = -INF;', "['x']", 'NAN or INF'],
            ['$_SESSION["r"] = [1]; $_SESSION["r"]["r"] = &$_SESSION["r"];', "['r']",
                'nested more than 500 levels deep, or recursive'],
            ['$_SESSION["a\0b"] = 1;', "['a\\000b']", 'invalid key (allowed: up to 256 bytes without NUL)'],
            ['$_SESSION[str_repeat("k", 257)] = 1;', 'kkk', 'invalid key (allowed: up to 256 bytes without NUL)'],
        ];
    }

    /** @dataProvider unsupported */
    public function testUnsupportedValueIsRefusedByName(string $code, string $key, string $reason): void
    {
        $id = $this->session('$_SESSION = ["a" => 1, "b" => 2];');
        $r = $this->start("session_start(); \$_SESSION['a'] = 'changed'; unset(\$_SESSION['b']); $code
            try { session_write_close(); } catch (SessionServer\\Exception\\EncodingException \$e) {
                \$_SESSION = [];
                return \$e->getMessage();
            }", $id)->finish();
        $this->assertStringContainsString("$key", $r->result);
        $this->assertStringContainsString($reason, $r->result);
        $this->assertStringContainsString('nothing was saved, the session is unchanged', $r->result);
        $this->assertSame(['a' => '1', 'b' => '2'], $this->stored($id));
        $this->assertFree($id);
    }

    public function testStoredValueIsNotJson(): void
    {
        $id = $this->session();
        $client = self::$server->client();
        $client->open($id, 'u');
        $client->put('raw', 'not json');
        $client->close();
        $message = "the value of the key 'raw' is not JSON (Syntax error)";
        $this->assertStringContainsString($message, $this->start('session_start();', $id)->output());
        $this->assertFree($id);
    }

    private function store(string $id, array $values): void
    {
        $client = self::$server->client();
        $client->open($id, 'u');
        $client->putMany($values);
        $client->close();
    }

    /** Asserts the stored values, in any order. */
    private function assertStored(array $values, string $id): void
    {
        $stored = $this->stored($id);
        ksort($stored);
        ksort($values);
        $this->assertSame($values, $stored);
    }

    /** PHP rounds integers beyond 64 bits. They can be kept or replaced, but are never written back. */
    public function testIntegersBeyond64Bits(): void
    {
        $id = $this->session('$_SESSION = ["n" => 1];');
        $big = ['id' => '18446744073709551615', 'user' => '{"name": "a", "ids": [1, -9223372036854775809]}',
            'float' => '1e25', 'text' => '"18446744073709551615"'];
        $this->store($id, $big);
        $r = $this->request('session_start(); $_SESSION["n"]++;
            return [$_SESSION["id"], $_SESSION["user"]["ids"][1]];', $id);
        $this->assertSame([18446744073709551615.0, -9223372036854775809.0], $r->result);
        $this->assertStored($big + ['n' => '2'], $id);
        $this->request('session_start(); $_SESSION["float"] *= 10; $_SESSION["text"] .= "0"; $_SESSION["n"]++;', $id);
        $this->assertStored(['float' => '1.0e+26', 'text' => '"184467440737095516150"', 'n' => '3'] + $big, $id);
        foreach ([
            '$_SESSION["user"]["name"] = "b";' => "['user']['ids'][1]",
            '$_SESSION["id"] *= 3;' => "['id']",
            '$_SESSION["id"] = [$_SESSION["id"]];' => "['id'][0]",
        ] as $code => $name) {
            $before = $this->stored($id);
            $r = $this->start("session_start(); \$_SESSION['n'] = 9; $code
                try { session_write_close(); }
                catch (SessionServer\Exception\EncodingException \$e) { return \$e->getMessage(); }", $id)->finish();
            $this->assertStringContainsString("\$_SESSION$name cannot be stored with format=json:"
                . ' PHP has rounded the stored integer beyond 64 bits', $r->result);
            $this->assertStringContainsString('nothing was saved', $r->result);
            $this->assertStored($before, $id);
            $this->assertFree($id);
        }
        $this->request('session_start(); $_SESSION["user"] = ["name" => "b"]; $_SESSION["id"] = 7;', $id);
        $this->assertStored(['user' => '{"name":"b"}', 'id' => '7'] + $before, $id);
    }

    /** Empty objects and objects with the keys 0, 1, 2 look like lists in PHP. They remain objects. */
    public function testObjectsRemainObjects(): void
    {
        $id = $this->session('$_SESSION = ["n" => 1];');
        $cases = [
            '{"a":{},"b":[],"c":1}' => ['$v["c"] = 2;', '{"a":{},"b":[],"c":2}'],
            '{}' => ['$v["b"]["x"] = 1;', '{"b":{"x":1}}'],
            '{"a":{"b":{}}}' => ['$v["a"]["b"]["x"] = 1;', '{"a":{"b":{"x":1}}}'],
            '{"a":{"b":{"x":1}}}' => ['unset($v["a"]["b"]["x"]);', '{"a":{"b":{}}}'],
            '{"x":1}' => ['$v = [];', '{}'],
            '{"0":"a","1":"b"}' => ['$v[1] = "c";', '{"0":"a","1":"c"}'],
            '{"0":"a"}' => ['$v[] = [];', '{"0":"a","1":[]}'],
            '[{"t":{}},{"t":{}}]' => ['$v[1]["t"] = ["x"];', '[{"t":{}},{"t":["x"]}]'],
            '[]' => ['$v["x"] = [];', '{"x":[]}'],
            '[1,{}]' => ['$v[0] = "text";', '["text",{}]'],
            '{"a":{}} ' => ['$v = "text";', '"text"'],
            ' {"a":{},"b":1}' => ['$v["a"] = 1; $v["b"] = [];', '{"a":1,"b":[]}'],
            '{"a":{"x":1}}' => ['$v["a"] = ["list"];', '{"a":["list"]}'],
            '{"":{},"b":1}' => ['$v["b"] = 2;', '{"":{},"b":2}'],
            '{"\\u0000":{},"b":1}' => ['$v["b"] = 2;', '{"\\u0000":[],"b":2}'], // PHP objects do not support this key
        ];
        foreach ($cases as $before => [$code, $after]) {
            $this->store($id, ['v' => $before]);
            $this->request('session_start(); $_SESSION["n"]++;', $id);
            $this->assertSame($before, $this->stored($id)['v']);
            $r = $this->request("session_start(); \$v = &\$_SESSION['v']; $code", $id);
            $this->assertSame($after, $this->stored($id)['v'], "$before $code");
            $this->assertStringNotContainsString('stdClass', serialize($r->session)); // also not through references
        }
    }

    public function testPhpSerializer(): void
    {
        $id = $this->session('$_SESSION = ["a" => [1, null], "b" => "x"];');
        $php = 'ini_set("session.serialize_handler", "php"); session_start();';
        $r = $this->request("$php \$_SESSION['c'] = 1.5; return session_encode();", $id);
        $this->assertSame('a|a:2:{i:0;i:1;i:1;N;}b|s:1:"x";c|d:1.5;', $r->result);
        $this->assertSame(['a' => '[1,null]', 'b' => '"x"', 'c' => '1.5'], $this->stored($id));
        foreach (['$_SESSION["p|q"] = 1;', '$_SESSION[5] = 1; $_SESSION["a"] = 2;'] as $code) {
            $this->assertStringContainsString('set it to php_serialize', $this->start("$php $code", $id)->output());
        }
        $this->request('session_start(); $_SESSION["p|q"] = 1;', $id);
        $this->assertStringContainsString('set it to php_serialize', $this->start($php, $id)->output());
        $this->assertStringContainsString('unsupported session.serialize_handler (allowed: php_serialize, php)',
            $this->start('ini_set("session.serialize_handler", "php_binary"); session_start();', $id)->output());
    }

    public function testRegenerateDestroyReset(): void
    {
        $id = $this->session('$_SESSION = ["a" => 1, "b" => 2];');
        $r = $this->request('session_start(); session_regenerate_id(true); $_SESSION["a"] = 3;', $id);
        $this->assertSame(['a' => '3', 'b' => '2'], $this->stored($r->id));
        $r2 = $this->request('session_start(); session_regenerate_id(false); $_SESSION["a"] = 4;', $r->id);
        $this->assertSame(['a' => '3', 'b' => '2'], $this->stored($r->id));
        $this->assertSame(['a' => '4', 'b' => '2'], $this->stored($r2->id));
        $r = $this->request('session_start(); $_SESSION["a"] = 9; session_reset(); $a = $_SESSION["a"];
            session_destroy(); return $a;', $r2->id);
        $this->assertSame(4, $r->result);
        $this->assertGone($r2->id);
    }

    public function testWithoutPhpSession(): void
    {
        $r = $this->start('try { $handler->write(str_repeat("a", 32), "data"); }
            catch (SessionServer\Exception\EncodingException $e) { return $e->getMessage(); }')->finish();
        $this->assertStringContainsString('format=json requires $_SESSION', $r->result);
    }
}
