<?php

declare(strict_types=1);

namespace SessionServer\Tests;

/**
 * Frameworks from Debian, and a substitute for PEAR's HTTP_Session2, which Debian does not have. The code is that of
 * docs/php.md.
 */
final class FrameworkTest extends SessionTestCase
{
    private const HTTP_FOUNDATION = '/usr/share/php/Symfony/Component/HttpFoundation/autoload.php';

    /** Returns PHP code that requires a file, or skips the test if the file is missing. */
    private function need(string $file): string
    {
        if (!is_file($file)) {
            getenv('SESSIONSERVER_TEST_ALL') ? $this->fail("missing: $file")
                : $this->markTestSkipped("requires $file; make setup installs it");
        }
        return 'require ' . var_export($file, true) . ';';
    }

    private const SYMFONY = <<<'PHP'
        use Symfony\Component\HttpFoundation\Session\Session;
        use Symfony\Component\HttpFoundation\Session\Storage\NativeSessionStorage;

        $session = new Session(new NativeSessionStorage([], new SessionServer\SaveHandler(getenv('SESSION_DSN'))));
        PHP;

    private function symfony(string $code, string $cookie = '', string $query = ''): Result
    {
        return $this->runFile($this->need(self::HTTP_FOUNDATION), self::SYMFONY, $code, $cookie, $query);
    }

    /** Runs code from a file of its own, since `use` is only allowed at the top of a file. */
    private function runFile(string $require, string $setup, string $code, string $cookie, string $query = ''): Result
    {
        $file = self::$server->dir . '/' . md5($setup . $code) . '.php';
        file_put_contents($file, "<?php\n$setup\n$code\n");
        $dsn = self::$server->dsn($query);
        $result = $this->start("$require putenv('SESSION_DSN=$dsn'); return require '$file';", $cookie)->finish();
        $this->assertSame('', $result->printed);
        return $result;
    }

    public function testSymfony(): void
    {
        $r = $this->symfony('$session->start(); $session->set("user", "alice"); $session->save();
            return $session->getId();');
        $id = $r->result;
        $this->assertStringContainsString('s:5:"alice"', $this->stored($id)['php']);
        $this->assertFree($id);
        $r = $this->symfony('$session->start(); $session->set("n", 1); $user = $session->get("user");
            $session->migrate(true); $session->set("after", 2); $session->save();
            return [$user, $session->getId()];', $id);
        $this->assertSame('alice', $r->result[0]);
        $this->assertStringContainsString('after', $this->stored($r->result[1])['php']);
        $this->assertStringContainsString('alice', $this->stored($r->result[1])['php']);
        $this->assertGone($id);
        $r = $this->symfony('$session->start(); $session->invalidate(); $all = $session->all(); $session->save();
            return $all;', $r->result[1]);
        $this->assertSame([], $r->result);
    }

    public function testSymfonyWithRegisteredHandler(): void
    {
        $require = $this->need(self::HTTP_FOUNDATION);
        $setup = <<<'PHP'
            use Symfony\Component\HttpFoundation\Session\Session;
            use Symfony\Component\HttpFoundation\Session\Storage\NativeSessionStorage;
            use Symfony\Component\HttpFoundation\Session\Storage\Proxy\AbstractProxy;

            SessionServer\SaveHandler::register(getenv('SESSION_DSN'));
            $session = new Session(new NativeSessionStorage([], new class extends AbstractProxy {}));
            PHP;
        $id = $this->runFile($require, $setup, '$session->start(); $session->set("n", 1); $session->save();
            return $session->getId();', '')->result;
        $r = $this->runFile($require, $setup, '$session->start(); $session->migrate(true); $session->save();
            return $session->getId();', $id, 'grace=60');
        $this->assertNotSame($id, $r->result);
        $this->assertSame($this->stored($r->result), $this->stored($id)); // within the grace period
    }

    private const TWO_HANDLERS = <<<'PHP'
        use Symfony\Component\HttpFoundation\Session\Session;
        use Symfony\Component\HttpFoundation\Session\Storage\Handler\AbstractSessionHandler;
        use Symfony\Component\HttpFoundation\Session\Storage\Handler\MigratingSessionHandler;
        use Symfony\Component\HttpFoundation\Session\Storage\Handler\StrictSessionHandler;
        use Symfony\Component\HttpFoundation\Session\Storage\NativeSessionStorage;

        session_save_path(FOLDER);
        $files = new SessionHandler();
        $remote = new SessionServer\SaveHandler(getenv('SESSION_DSN'));
        PHP;

    /** @return array<string, array{string}> handlers that applications use for the migration between two handlers */
    public function migrations(): array
    {
        $extended = fn (string $read) => "new class(\$files, \$remote) extends AbstractSessionHandler {
            public function __construct(private \$files, private \$remote) {}
            public function open(\$path, \$name): bool {
                return parent::open(\$path, \$name) && \$this->files->open(\$path, \$name)
                    && \$this->remote->open(\$path, \$name);
            }
            public function close(): bool { return \$this->files->close() && \$this->remote->close(); }
            public function gc(\$lifetime): int|false { return 0; }
            public function updateTimestamp(\$id, \$data): bool { return \$this->doWrite(\$id, \$data); }
            protected function doRead(\$id): string { return \$this->{$read}->read(\$id); }
            protected function doWrite(\$id, \$data): bool {
                return \$this->files->write(\$id, \$data) && \$this->remote->write(\$id, \$data);
            }
            protected function doDestroy(\$id): bool {
                return \$this->files->destroy(\$id) && \$this->remote->destroy(\$id);
            }
        }";
        return [
            'from files' => ['new MigratingSessionHandler(new StrictSessionHandler($files), $remote)'],
            'to files' => ['new MigratingSessionHandler($remote, new StrictSessionHandler($files))'],
            'own class that reads files' => [$extended('files')],
            'own class that reads the server' => [$extended('remote')],
        ];
    }

    /** @dataProvider migrations */
    public function testSymfonyMigration(string $handler): void
    {
        $require = $this->need(self::HTTP_FOUNDATION);
        $folder = self::$server->dir . '/' . bin2hex(random_bytes(4));
        mkdir($folder);
        $setup = str_replace('FOLDER', "'$folder'", self::TWO_HANDLERS)
            . "\n\$session = new Session(new NativeSessionStorage([], $handler));\n";
        $run = function (string $code, string $cookie) use ($require, $setup): array {
            $code = "\$session->start(); $code; \$session->save(); return [\$session->getId(), \$session->all()];";
            return $this->runFile($require, $setup, $code, $cookie)->result;
        };
        [$id] = $run('$session->set("user", "alice")', str_repeat('a', 32)); // with an unknown id in the cookie
        $this->assertNotSame(str_repeat('a', 32), $id);
        $this->assertStringContainsString('alice', $this->stored($id)['php']);
        $this->assertSame([$id, ['user' => 'alice']], $run('', $id));
        $this->assertSame([$id, ['user' => 'alice', 'n' => 1]], $run('$session->set("n", 1)', $id));
        [$new, $all] = $run('$session->migrate(true); $session->set("n", 2)', $id);
        $this->assertSame(['user' => 'alice', 'n' => 2], $all);
        $this->assertNotSame($id, $new);
        $this->assertGone($id);
        $this->assertFree($new);
        $this->assertStringContainsString('alice', $this->stored($new)['php']);
        [$last] = $run('$session->invalidate(); $session->set("user", "bob")', $new);
        $this->assertGone($new);
        $this->assertStringContainsString('bob', $this->stored($last)['php']);
        $run('$session->clear(); $session->invalidate()', $last);
        $this->assertGone($last);
    }

    private const LARAVEL = <<<'PHP'
        use Illuminate\Config\Repository;
        use Illuminate\Container\Container;
        use Illuminate\Session\SessionManager;

        $app = new Container();
        $config = ['driver' => 'sessionserver', 'cookie' => 'laravel_session', 'lifetime' => 120];
        $app->instance('config', new Repository(['session' => $config]));
        $manager = new SessionManager($app);
        $manager->extend('sessionserver', fn ($app) => new SessionServer\SaveHandler(getenv('SESSION_DSN')));
        $store = $manager->driver();
        PHP;

    public function testLaravel(): void
    {
        $require = '';
        foreach (['Session', 'Container', 'Config'] as $component) {
            $require .= $this->need("/usr/share/php/Illuminate/$component/autoload.php");
        }
        $id = $this->runFile($require, self::LARAVEL, '$store->start(); $store->put("user", "alice"); $store->save();
            return $store->getId();', '')->result;
        $this->assertSame(40, strlen($id));
        $this->assertFree($id);
        $r = $this->runFile($require, self::LARAVEL, "\$store->setId('$id'); " . '$store->start();
            $user = $store->get("user"); $store->migrate(true); $store->put("n", 1); $store->save();
            return [$user, $store->getId()];', '');
        $this->assertSame('alice', $r->result[0]);
        $this->assertStringContainsString('alice', $this->stored($r->result[1])['php']);
        $this->assertGone($id);
        $r = $this->runFile($require, self::LARAVEL, "\$store->setId('{$r->result[1]}'); " . '$store->start();
            $store->invalidate(); $store->save(); return $store->all();', '');
        $this->assertArrayNotHasKey('user', $r->result);
    }

    /**
     * A substitute with the relevant behaviour of PEAR's classes. A container gets its defaults first, accepts only
     * options with a default, saves in its destructor, and is found by the name of its file. A visitor without a cookie
     * gets a guessable id, and every session has a value.
     */
    private const PEAR = [
        'HTTP/Session2/Container.php' => <<<'PHP'
            interface HTTP_Session2_Container_Interface {
                public function open($save_path, $session_name);
                public function close();
                public function read($id);
                public function write($id, $data);
                public function destroy($id);
                public function gc($maxlifetime);
                public function replicate($target, $id = null);
            }
            abstract class HTTP_Session2_Container implements HTTP_Session2_Container_Interface {
                protected $options = [];
                public function __construct($options = null) {
                    $this->setDefaults();
                    if (is_array($options)) $this->parseOptions($options);
                }
                public function __destruct() { session_write_close(); }
                protected function setDefaults() {}
                protected function parseOptions($options) {
                    $this->options = array_intersect_key($options, $this->options) + $this->options;
                }
                public function set() { throw new LogicException('session_module_name("user") no longer exists'); }
            }
            PHP,
        'HTTP/Session2.php' => <<<'PHP'
            class HTTP_Session2 {
                public static $container;
                public static function setContainer($name, $options = null) {
                    include_once "HTTP/Session2/Container/$name.php";
                    $class = "HTTP_Session2_Container_$name";
                    self::$container = new $class($options);
                    self::$container->set();
                }
                public static function start($name = 'SessionID', $id = null) {
                    session_name($name);
                    if (!isset($_COOKIE[$name])) session_id($id ?: uniqid(dechex(rand())));
                    session_start();
                    $_SESSION['__info'] = isset($_SESSION['__info']) ? 2 : 1;
                }
                public static function destroy() { session_unset(); session_destroy(); }
                public static function regenerateId($old = false) { return session_regenerate_id($old); }
                public static function replicate($target, $id = null) {
                    return self::$container->replicate($target, $id);
                }
            }
            PHP,
    ];

    public function testHttpSession2(): void
    {
        foreach (self::PEAR as $file => $code) {
            $file = self::$server->dir . "/pear/$file";
            is_dir(dirname($file)) || mkdir(dirname($file), 0700, true);
            file_put_contents($file, "<?php\n$code");
        }
        $path = dirname(__DIR__) . '/pear:' . self::$server->dir . '/pear';
        $require = "set_include_path('$path'); require 'HTTP/Session2.php';";
        $setup = 'HTTP_Session2::setContainer("SessionServer", ["dsn" => getenv("SESSION_DSN")]);';
        $start = '$_COOKIE["SessionID"] = $_COOKIE["PHPSESSID"] ?? null; HTTP_Session2::start();';
        $id = $this->runFile($require, $setup, "$start \$_SESSION['n'] = 1; HTTP_Session2::\$container = null;
            return session_id();", '')->result;
        $this->assertMatchesRegularExpression('/^[0-9a-f]{32}$/', $id); // not the guessable id
        $this->assertSame(['php' => '__info|i:1;n|i:1;'], $this->stored($id));
        $r = $this->runFile($require, $setup, "$start HTTP_Session2::regenerateId(true);
            return [session_id(), \$_SESSION['n']++];", $id, 'grace=60');
        $this->assertSame(1, $r->result[1]);
        $this->assertSame(['php' => '__info|i:2;n|i:2;'], $this->stored($r->result[0]));
        $this->assertSame($this->stored($r->result[0]), $this->stored($id)); // within the grace period
        $r = $this->runFile($require, $setup, "$start try { HTTP_Session2::replicate('x'); }
            catch (BadMethodCallException \$e) { HTTP_Session2::destroy(); return \$e->getMessage(); }", $id);
        $this->assertStringContainsString('not replicated', $r->result);
        $this->assertGone($id);
        // The methods of the container, called directly.
        $require .= 'require "HTTP/Session2/Container/SessionServer.php";';
        $setup = '$container = new HTTP_Session2_Container_SessionServer(["dsn" => getenv("SESSION_DSN")]);';
        $r = $this->runFile($require, $setup, '$id = str_repeat("f", 32);
            $container->open("", ""); $results = [$container->read($id)]; $container->write($id, "data");
            $container->close(); $results[] = $container->read($id);
            $container->destroy($id); $results[] = $container->gc(1);
            try { $container->replicate("x"); } catch (BadMethodCallException $e) { $results[] = $e->getMessage(); }
            return $results;', '');
        $this->assertSame(['', 'data', true], array_slice($r->result, 0, 3));
        $this->assertGone(str_repeat('f', 32));
    }
}
