<?php

declare(strict_types=1);

namespace SessionServer\Tests;

use SessionServer\Exception\NotFoundException;

/**
 * Every PHP code block in docs/php.md and the README is part of an example, which this class runs.
 */
final class DocsTest extends SessionTestCase
{
    /** A server whose tenant is not strict; self::$server has the default. */
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

    /** @return array<array{string, string, bool}> file, output, and whether the example works in a strict tenant */
    public function examples(): array
    {
        $all = "Array\n(\n    [foo] => bar\n    [a] => 1\n    [b] => any bytes \0\r\n\n)\n";
        return [
            ['plain.php', '1', true],
            ['errors.php', '1', true],
            ['client.php', $all, true],
            ['symfony.php', '1', false],
            ['symfony-proxy.php', '1', true],
            ['laravel.php', '1', false],
        ];
    }

    /** @dataProvider examples */
    public function testExamples(string $name, string $output, bool $strict): void
    {
        $this->assertSame($output, $this->example($strict ? self::$server : self::$lenient, $name));
        if (!$strict) {
            $warning = 'the tenant is strict and accepts only ids from the server';
            $this->assertStringContainsString($warning, $this->example(self::$server, $name));
        }
    }

    /** No session is created under an id from a visitor, in any tenant. */
    public function testVisitorCannotChooseId(): void
    {
        $chosen = 'chosenbythevisitor0123456789';
        foreach (['plain.php', 'errors.php', 'symfony.php', 'symfony-proxy.php'] as $name) {
            foreach ($name === 'symfony.php' ? [self::$lenient] : [self::$lenient, self::$server] as $server) {
                $cookie = "\$_COOKIE['PHPSESSID'] = '$chosen';";
                $output = $this->example($server, $name, $cookie, 'echo " ", session_id();');
                $this->assertMatchesRegularExpression('/^1 [0-9a-z,-]{22,}$/D', $output);
                $this->assertStringNotContainsString($chosen, $output);
                try {
                    $server->client()->open($chosen);
                    $this->fail("$name: there is a session under the chosen id");
                } catch (NotFoundException) {
                }
            }
        }
    }

    /** Runs an example and returns its output. */
    private function example(Server $server, string $name, string $before = '', string $after = ''): string
    {
        $code = file_get_contents(__DIR__ . "/examples/$name");
        if (preg_match('#/usr/share/php/[A-Z]\w+#', $code, $m) && !is_dir($m[0]) && !getenv('SESSIONSERVER_TEST_ALL')) {
            $this->markTestSkipped("requires $m[0]; make setup installs it");
        }
        $file = "$server->dir/$name";
        $require = "require getenv('PACKAGE')";
        $code = str_replace(['tcp://localhost', $require], [$server->dsn(), "$before $require"], $code);
        file_put_contents($file, "$code\n$after");
        $command = ['php', '-d', 'output_buffering=65536', '-d', 'display_errors=stderr', $file];
        $process = new Child($command, null, ['PACKAGE' => dirname(__DIR__)] + getenv());
        return $process->readAll();
    }

    public function testDocs(): void
    {
        $trim = fn (string $code) => preg_replace('/^ +/m', '', $code);
        $examples = '';
        foreach ($this->examples() as [$name]) {
            $examples .= $trim(file_get_contents(__DIR__ . "/examples/$name"));
        }
        $root = __DIR__ . '/../../..';
        $docs = file_get_contents("$root/docs/php.md") . file_get_contents("$root/README.md");
        preg_match_all('/^```php\n(.*?)^```/ms', $docs, $blocks);
        $this->assertNotEmpty($blocks[1]);
        foreach ($blocks[1] as $block) {
            $block = str_replace("require 'vendor/autoload.php';\n", '', $block);
            $this->assertStringContainsString($trim($block), $examples);
        }
    }

    /** The table of parameters in docs/php.md has those that the parser accepts. */
    public function testParameters(): void
    {
        $page = file_get_contents(__DIR__ . '/../../../docs/php.md');
        preg_match_all('/^\| `(\w+)` \|/m', explode('## The DSN', $page)[1], $m);
        try {
            \SessionServer\Dsn::parse('unix:///s?nothing=1');
        } catch (\SessionServer\Exception\DsnException $e) {
            preg_match('/\(allowed: (.*)\)/', $e->getMessage(), $allowed);
            $this->assertEqualsCanonicalizing(explode(', ', $allowed[1]), $m[1]);
        }
    }
}
