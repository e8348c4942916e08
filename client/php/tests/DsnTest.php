<?php

declare(strict_types=1);

namespace SessionServer\Tests;

use PHPUnit\Framework\TestCase;
use SessionServer\Client;
use SessionServer\Dsn;
use SessionServer\Exception\DsnException;
use SessionServer\Exception\SessionServerException;
use SessionServer\SaveHandler;

/**
 * The cases of client/dsn_test.go: all clients accept the same DSNs and report the same problems.
 */
final class DsnTest extends TestCase
{
    /** @return array<array{0: string, 1: string, 2?: array<string, mixed>}> */
    public function good(): array
    {
        return [
            ['tls://shop:hss_1@sessions.example.com:9091/acme?lock_timeout=10&on_lock_timeout=readonly&format=json',
                'tls://shop:xxxxx@sessions.example.com:9091/acme?lock_timeout=10&on_lock_timeout=readonly&format=json',
                ['host' => 'sessions.example.com', 'port' => 9091, 'app' => 'shop', 'tenant' => 'acme',
                    'lockTimeout' => 10.0, 'onLockTimeout' => 'readonly', 'format' => 'json', 'secret' => 'hss_1']],
            ['tcp://localhost', 'tcp://localhost:9090',
                ['port' => 9090, 'secret' => null, 'timeout' => 10.0, 'lockTimeout' => null, 'onLockTimeout' => 'fail',
                    'mode' => 'rw', 'lifetime' => null, 'format' => 'php', 'persistent' => false, 'grace' => 10]],
            ['tcp://localhost/', 'tcp://localhost:9090'],
            ['localhost:9190', 'tcp://localhost:9190', ['scheme' => 'tcp']],
            ['127.0.0.1', 'tcp://127.0.0.1:9090'],
            ['[::1]:9190', 'tcp://[::1]:9190', ['host' => '::1', 'port' => 9190]],
            ['tls://a:s@[2001:DB8:0::1]/t', 'tls://a:xxxxx@[2001:DB8:0::1]:9090/t'],
            ['tcp://[fe80::1%25eth0]:1', 'tcp://[fe80::1%25eth0]:1', ['host' => 'fe80::1%eth0']],
            ['tls://a:p%40ss%2Fw%3Ard%25:@h/t', 'tls://a:xxxxx@h:9090/t', ['secret' => 'p@ss/w:rd%:']],
            ['unix:///run/s.sock', 'unix:///run/s.sock', ['socket' => '/run/s.sock', 'port' => 0]],
            ['unix://shop:s@/run/a%20b%3F.sock?tenant=acme&timeout=0.5',
                'unix://shop:xxxxx@/run/a%20b%3F.sock?tenant=acme&timeout=0.5',
                ['socket' => '/run/a b?.sock', 'tenant' => 'acme', 'timeout' => 0.5]],
            ['tls://h/acme?certfile=/c%2Bd.pem&keyfile=k.pem&cafile=ca.pem',
                'tls://h:9090/acme?cafile=ca.pem&certfile=/c%2Bd.pem&keyfile=k.pem',
                ['certfile' => '/c+d.pem', 'keyfile' => 'k.pem', 'cafile' => 'ca.pem', 'tenant' => 'acme']],
            ['tcp://h?lock_timeout=0', 'tcp://h:9090?lock_timeout=0', ['lockTimeout' => 0.0]],
            ['tcp://h?lock_timeout=1.250&mode=r&lifetime=3600&persistent=1&format=php&on_lock_timeout=fail',
                'tcp://h:9090?lock_timeout=1.25&mode=r&lifetime=3600&persistent=1',
                ['lockTimeout' => 1.25, 'mode' => 'r', 'lifetime' => 3600, 'persistent' => true]],
            ['tcp://h?persistent=0&', 'tcp://h:9090', ['persistent' => false]],
            ['tcp://h?grace=0', 'tcp://h:9090?grace=0', ['grace' => 0]],
            ["\u{feff}tls://a:s@h/t", 'tls://a:xxxxx@h:9090/t'],
            ['"tls://a:s@h/t"', 'tls://a:xxxxx@h:9090/t'],
            ["\"tls://a:s@h/t\"\r\n", 'tls://a:xxxxx@h:9090/t'],
            ["\u{feff}'tls://a:s\"@h/t'", 'tls://a:xxxxx@h:9090/t', ['secret' => 's"']],
        ];
    }

    /** @dataProvider good */
    public function testGood(string $text, string $redacted, array $fields = []): void
    {
        $dsn = Dsn::parse($text);
        $this->assertSame($redacted, $dsn->redacted());
        foreach ($fields as $name => $value) {
            $this->assertSame($value, $name === 'secret' ? $dsn->secret?->reveal() : $dsn->$name, $name);
        }
        $this->assertSame($redacted, Dsn::parse($redacted)->redacted());
    }

    /** @return array<array{string, string}> */
    public function bad(): array
    {
        $name = 'allowed: 1 to 64 of a-z, 0-9, - and _, a letter or digit first';
        $at = 'unexpected @ after the host (percent-encode / ? # and @ in the secret and in parameters)';
        $seconds = '3600 seconds, with up to three decimals';
        $parameters = 'timeout, lock_timeout, on_lock_timeout, mode, lifetime, format, persistent, grace, '
            . 'cafile, certfile, keyfile)';
        return [
            ['', 'host: missing'],
            ['tls://', 'host: missing'],
            ['tls://a:hss_S3@/t', 'host: missing'],
            ['redis://a:hss_S3@h/t', 'scheme: unknown (allowed: tls, tcp, unix)'],
            ['file://hss_S3',
                'scheme: file requires an absolute path (file:///path/to/file), and is not allowed in a file'],
            ['"tls://a:hss_S3@h/t', 'opening quote without a closing one (remove it)'],
            ["'tls://a:hss_S3@h/t\"", 'opening quote without a closing one (remove it)'],
            ["\xff\xfet\0l\0s\0:\0S\0003\0", 'the text is UTF-16 (save it as UTF-8)'],
            ['hss_S3://a@h/t', 'scheme: unknown (allowed: tls, tcp, unix)'],
            ['a:hss_S3@h/t', 'scheme: missing (allowed: tls://, tcp://, unix://, or host:port alone)'],
            ['hss_S3', 'host: looks like a secret (app:secret@host)'],
            ['tls://a:hss_S3', 'port: allowed: 1 to 65535'],
            ['tls://a:hss_S3@h:0/t', 'port: allowed: 1 to 65535'],
            ['tls://a:hss_S3@h:/t', 'port: allowed: 1 to 65535'],
            ['tls://a:hss_S3@h:65536/t', 'port: allowed: 1 to 65535'],
            ['tls://a:hss_S3@::1/t',
                'host: more than one colon (write an IPv6 address in brackets, and app:secret before an @)'],
            ['tls://a:hss_S3@[::1/t', 'host: malformed ([IPv6]:port)'],
            ['tls://a:hss_S3@[127.0.0.1]/t', 'host: not an IPv6 address in brackets ([IPv6]:port)'],
            ["tls://a:hss_S3@h_\u{f6}/t",
                'host: allowed: a name of a-z, 0-9, - _ and ., an IPv4 address, or an IPv6 address in brackets'],
            ['tls://a:hss/S3@h/t', $at],
            ['tls://a:hss?S3@h/t', $at],
            ['tls://a:hss#S3@h/t', $at],
            ['tls://a:hss_S3@h/t#x', 'unexpected # (percent-encode it as %23)'],
            ["tls://a:hss_S3@h/t\n", 'byte 19: space, line end or control character (percent-encode or remove it)'],
            ['tls://a:hss_S3%zz@h/t', 'secret: invalid percent-encoding (write %25 for a percent sign)'],
            ['tls://a:hss_S3%00@h/t', 'secret: NUL byte not allowed'],
            ['tls://a@h/t', 'secret: missing (app:secret@host)'],
            ['tls://a:hss_S3@h', 'tenant: missing, required with an app and a secret (host/tenant)'],
            ['unix://a:hss_S3@/run/s', 'tenant: missing, required with an app and a secret (?tenant=name)'],
            ['tls://h/t', 'tenant: allowed only with credentials (app:secret@ before the host, or certfile)'],
            ['tls://a:hss_S3@h/T%2Fx', "tenant: $name"],
            ['tls://:hss_S3@h/t', "app: $name"],
            ['tls://a:hss_S3@h/t?tenant=t', 'tenant: allowed as a parameter only with the scheme unix (host/tenant)'],
            ['unix://h/run/s', 'host: not allowed with the scheme unix (unix:///path/to/socket)'],
            ['unix://', 'socket: missing (unix:///path/to/socket)'],
            ['tcp://h?timeout=0', 'timeout: allowed: 0.001 to 3600 seconds, with up to three decimals'],
            ['tcp://h?timeout=', 'timeout: allowed: 0.001 to 3600 seconds, with up to three decimals'],
            ['tcp://h?timeout=1.', 'timeout: allowed: 0.001 to 3600 seconds, with up to three decimals'],
            ['tcp://h?lock_timeout=-1', 'lock_timeout: allowed: 0 to 600 seconds, with up to three decimals'],
            ['tcp://h?lock_timeout=10s', 'lock_timeout: allowed: 0 to 600 seconds, with up to three decimals'],
            ['tcp://h?lock_timeout=601', 'lock_timeout: allowed: 0 to 600 seconds, with up to three decimals'],
            ['tcp://h?on_lock_timeout=wait', 'on_lock_timeout: allowed: fail, readonly'],
            ['tcp://h?mode=w', 'mode: allowed: rw, r'],
            ['tcp://h?lifetime=0', 'lifetime: allowed: 1 to 315360000, whole seconds'],
            ['tcp://h?grace=301', 'grace: allowed: 0 to 300, whole seconds'],
            ['tcp://h?format=xml', 'format: allowed: php, json'],
            ['tcp://h?persistent=yes', 'persistent: allowed: 0, 1'],
            ['tls://h?cafile=', 'cafile: allowed: the path of a PEM file'],
            ['tls://h?certfile=c', 'certfile, keyfile: set both or neither'],
            ['tcp://h?cafile=c', 'cafile, certfile, keyfile: allowed only with the scheme tls'],
            ['tcp://h?mode=r&mode=r', 'mode: duplicate'],
            ['tcp://h?locktimeout=1', "unknown parameter locktimeout (allowed: $parameters"],
            ['unix:///s?hss_S3=1', "unknown parameter (allowed: tenant, $parameters"],
            ['tcp://A:hss_S3@h:x/T?mode=q&timeout=q', "app: $name; port: allowed: 1 to 65535; tenant: $name; "
                . "mode: allowed: rw, r; timeout: allowed: 0.001 to $seconds"],
        ];
    }

    /** @dataProvider bad */
    public function testBad(string $text, string $problems): void
    {
        $exceptions = [];
        foreach ([
            Dsn::parse(...),
            fn (string $dsn) => new Client($dsn),
            fn (string $dsn) => new SaveHandler($dsn),
        ] as $use) {
            try {
                $use($text);
                $this->fail('the DSN is accepted');
            } catch (DsnException $e) {
                $exceptions[] = $e;
                $this->assertSame('sessionserver: DSN: ' . $problems, $e->getMessage());
                $this->assertSame($problems, implode('; ', $e->problems));
            }
        }
        foreach ($exceptions as $e) {
            foreach ($e->getTrace() as $frame) {
                $class = $frame['class'] ?? '';
                if (str_starts_with($class, 'SessionServer\\') && !str_contains($class, 'Tests')) {
                    $this->assertStringNotContainsString('S3', print_r($frame['args'] ?? [], true));
                }
            }
        }
    }

    /** @return array<array{?string, string}> the content of the file, and the problem */
    public function files(): array
    {
        $rule = '(write the DSN as the only line of a file)';
        return [
            'empty' => ["\n", "the file is empty $rule"],
            'two lines' => ["# the shop's\ntcp://a:hss_S3@h/t\n", "the file has more than one line $rule"],
            'absent' => [null, 'the file cannot be read: No such file or directory'],
            'wrong' => ["tcp://a:hss_S3@h:x/t\n", 'port: allowed: 1 to 65535'],
            'a file in a file' => ['file:///hss_S3',
                'scheme: file requires an absolute path (file:///path/to/file), and is not allowed in a file'],
        ];
    }

    /** @dataProvider files */
    public function testBadFiles(?string $content, string $problem): void
    {
        $file = tempnam(sys_get_temp_dir(), 'dsn');
        $content === null ? unlink($file) : file_put_contents($file, $content);
        try {
            $this->assertRefused($file, $problem);
        } finally {
            $content === null || unlink($file);
        }
    }

    public function testFilesThatCannotBeRead(): void
    {
        $this->assertRefused(__DIR__, 'not a file but a directory (write the DSN as the only line of a file)');
        $this->assertRefused("/a\0b", 'the file cannot be read: invalid name');
        $file = tempnam(sys_get_temp_dir(), 'dsn');
        chmod($file, 0);
        $root = posix_geteuid() === 0;
        $root && posix_seteuid(65534); // root can read all files
        try {
            $this->assertRefused($file, 'the file cannot be read: Permission denied');
        } finally {
            $root && posix_seteuid(0);
            unlink($file);
        }
    }

    private function assertRefused(string $file, string $problem): void
    {
        // The error handler ignores the @ operator.
        set_error_handler(static fn (int $level, string $message) => throw new \ErrorException($message));
        try {
            foreach ([
                Dsn::load(...),
                fn (string $dsn) => new Client($dsn),
                fn (string $dsn) => new SaveHandler($dsn),
            ] as $use) {
                try {
                    $use("file://$file");
                    $this->fail('the file is accepted');
                } catch (DsnException $e) {
                    $this->assertSame("sessionserver: DSN in $file: $problem", $e->getMessage());
                }
            }
        } finally {
            restore_error_handler();
        }
    }

    public function testGoodFiles(): void
    {
        $file = tempnam(sys_get_temp_dir(), 'dsn');
        try {
            foreach ([" %s\r\n", "\u{feff}%s\n", "\"%s\"\n", "\u{feff}'%s'"] as $content) {
                file_put_contents($file, sprintf($content, 'tcp://shop:hss_S3@127.0.0.1:1/acme'));
                $path = "file://$file";
                foreach ([Dsn::load($path), new Client($path), new SaveHandler($path)] as $object) {
                    $this->assertStringContainsString('tcp://shop:xxxxx@127.0.0.1:1/acme', print_r($object, true));
                }
            }
        } finally {
            unlink($file);
        }
    }

    /** No output of an object of this library contains its secret. */
    public function testSecretsAreConcealed(): void
    {
        $text = 'tcp://shop:hss_S3cr3t@127.0.0.1:1/acme?persistent=1';
        $dsn = Dsn::parse($text);
        $objects = [$dsn, $dsn->secret, new Client($dsn), new SaveHandler($text)];
        try {
            $objects[2]->ping();
            $this->fail('ping succeeded');
        } catch (SessionServerException $e) {
            $objects[] = $e->getMessage();
            $objects[] = $e->getTraceAsString();
        }
        $output = '';
        foreach ($objects as $object) {
            ob_start();
            var_dump($object);
            var_dump((array) $object);
            $output .= ob_get_clean() . print_r($object, true) . print_r((array) $object, true) . json_encode($object);
            try {
                $output .= serialize($object);
            } catch (\LogicException) {
            }
        }
        $output .= var_export($dsn, true) . var_export($dsn->secret, true);
        foreach (['serialize', fn ($object) => clone $object] as $forbidden) {
            try {
                $forbidden($dsn->secret);
                $this->fail('a secret can be copied');
            } catch (\LogicException | \Error) {
            }
        }
        $this->assertStringContainsString('tcp://shop:xxxxx@127.0.0.1:1/acme', $output);
        $this->assertStringNotContainsString('S3cr3t', $output);
    }
}
