<?php

declare(strict_types=1);

namespace SessionServer\Tests;

use SessionServer\Exception\NotFoundException;

/**
 * Every piece of PHP in docs/php.md and the README is in an example that runs.
 */
final class DocsTest extends SessionTestCase
{
    /** The class's own server is strict, as new tenants are. */
    private static ?Server $lenient;

    public static function setUpBeforeClass(): void
    {
        self::$server = new Server('');
        self::$lenient = new Server('session: {strict: false}');
    }

    public static function tearDownAfterClass(): void
    {
        parent::tearDownAfterClass();
        self::$lenient = null;
    }

    /** @return array<array{string, string, bool}> what each prints, and whether its ids are the server's */
    public function examples(): array
    {
        return [['plain.php', '1', true], ['errors.php', '1', true], ['client.php', "Array\n(\n    [foo] => bar\n    [a] => 1\n    [b] => any bytes \0\r\n\n)\n", true],
            ['symfony.php', '1', false], ['symfony-proxy.php', '1', true], ['laravel.php', '1', false]];
    }

    /** @dataProvider examples */
    public function testExamples(string $name, string $prints, bool $strict): void
    {
        $this->assertSame($prints, $this->example($strict ? self::$server : self::$lenient, $name));
        if (!$strict) {
            $this->assertStringContainsString('the tenant is strict and accepts only ids from the server', $this->example(self::$server, $name));
        }
    }

    /** Nobody's session begins under an id that a visitor has sent, in whatever tenant. */
    public function testAVisitorChoosesNoId(): void
    {
        $chosen = 'chosenbythevisitor0123456789';
        foreach (['plain.php', 'errors.php', 'symfony.php', 'symfony-proxy.php'] as $name) {
            foreach ($name === 'symfony.php' ? [self::$lenient] : [self::$lenient, self::$server] as $server) {
                $printed = $this->example($server, $name, "\$_COOKIE['PHPSESSID'] = '$chosen';", 'echo " ", session_id();');
                $this->assertMatchesRegularExpression('/^1 [0-9a-z,-]{22,}$/D', $printed);
                $this->assertStringNotContainsString($chosen, $printed);
                try {
                    $server->client()->open($chosen);
                    $this->fail("$name: there is a session under the chosen id");
                } catch (NotFoundException) {
                }
            }
        }
    }

    /** Runs an example and answers what it prints. */
    private function example(Server $server, string $name, string $before = '', string $after = ''): string
    {
        $code = file_get_contents(__DIR__ . "/examples/$name");
        if (preg_match('#/usr/share/php/[A-Z]\w+#', $code, $m) && !is_dir($m[0]) && !getenv('SESSIONSERVER_TEST_ALL')) {
            $this->markTestSkipped("needs $m[0]; make setup installs it");
        }
        $file = "$server->dir/$name";
        $code = str_replace(['tcp://localhost', "require getenv('PACKAGE')"], [$server->dsn(), "$before require getenv('PACKAGE')"], $code);
        file_put_contents($file, "$code\n$after");
        $process = new Child(['php', '-d', 'output_buffering=65536', '-d', 'display_errors=stderr', $file], null, ['PACKAGE' => dirname(__DIR__)] + getenv());
        return $process->rest();
    }

    public function testDocs(): void
    {
        $trim = fn (string $code) => preg_replace('/^ +/m', '', $code);
        $examples = '';
        foreach ($this->examples() as [$name]) {
            $examples .= $trim(file_get_contents(__DIR__ . "/examples/$name"));
        }
        $docs = file_get_contents(__DIR__ . '/../../../docs/php.md') . file_get_contents(__DIR__ . '/../../../README.md');
        preg_match_all('/^```php\n(.*?)^```/ms', $docs, $pieces);
        $this->assertNotEmpty($pieces[1]);
        foreach ($pieces[1] as $piece) {
            $this->assertStringContainsString($trim(str_replace("require 'vendor/autoload.php';\n", '', $piece)), $examples);
        }
    }

    /** What the page says about parameters is what the parser takes. */
    public function testParameters(): void
    {
        preg_match_all('/^\| `(\w+)` \|/m', explode('## The DSN', file_get_contents(__DIR__ . '/../../../docs/php.md'))[1], $m);
        try {
            \SessionServer\Dsn::parse('unix:///s?nothing=1');
        } catch (\SessionServer\Exception\DsnException $e) {
            preg_match('/\(allowed: (.*)\)/', $e->getMessage(), $allowed);
            $this->assertEqualsCanonicalizing(explode(', ', $allowed[1]), $m[1]);
        }
    }
}
