<?php

declare(strict_types=1);

namespace SessionServer\Tests;

/**
 * Every piece of PHP in docs/php.md and the README is in an example that runs.
 */
final class DocsTest extends SessionTestCase
{
    /** @return array<array{string, string}> what each prints */
    public function examples(): array
    {
        return [['plain.php', '1'], ['errors.php', '1'], ['client.php', "Array\n(\n    [foo] => bar\n    [a] => 1\n    [b] => any bytes \0\r\n\n)\n"],
            ['symfony.php', '1'], ['symfony-grace.php', '1'], ['laravel.php', '1']];
    }

    /** @dataProvider examples */
    public function testExamples(string $name, string $prints): void
    {
        $code = file_get_contents(__DIR__ . "/examples/$name");
        if (preg_match('#/usr/share/php/[A-Z]\w+#', $code, $m) && !is_dir($m[0]) && !getenv('SESSIONSERVER_TEST_ALL')) {
            $this->markTestSkipped("needs $m[0]; make setup installs it");
        }
        $file = self::$server->dir . "/$name";
        file_put_contents($file, str_replace('tcp://localhost', self::$server->dsn(), $code));
        $process = new Child(['php', '-d', 'output_buffering=65536', '-d', 'display_errors=stderr', $file], null, ['PACKAGE' => dirname(__DIR__)] + getenv());
        $this->assertSame($prints, $process->rest());
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
