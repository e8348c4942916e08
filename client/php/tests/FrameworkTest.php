<?php

declare(strict_types=1);

namespace SessionServer\Tests;

/**
 * Frameworks, as Debian has them, and a double of PEAR's HTTP_Session2, which it does not have. The code is that of
 * docs/php.md.
 */
final class FrameworkTest extends SessionTestCase
{
    private function need(string $file): string
    {
        if (!is_file($file)) {
            getenv('SESSIONSERVER_TEST_ALL') ? $this->fail("needs $file") : $this->markTestSkipped("needs $file; make setup installs it");
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
        return $this->inFile($this->need('/usr/share/php/Symfony/Component/HttpFoundation/autoload.php'), self::SYMFONY, $code, $cookie, $query);
    }

    /** `use` stands at the top of a file. */
    private function inFile(string $require, string $setup, string $code, string $cookie, string $query = ''): Result
    {
        $file = self::$server->dir . '/' . md5($setup . $code) . '.php';
        file_put_contents($file, "<?php\n$setup\n$code\n");
        $result = $this->start("$require putenv('SESSION_DSN=" . self::$server->dsn($query) . "'); return require '$file';", $cookie)->end();
        $this->assertSame('', $result->printed);
        return $result;
    }

    public function testSymfony(): void
    {
        $r = $this->symfony('$session->start(); $session->set("user", "alice"); $session->save(); return $session->getId();');
        $id = $r->result;
        $this->assertStringContainsString('s:5:"alice"', $this->stored($id)['php']);
        $this->assertFree($id);
        $r = $this->symfony('$session->start(); $session->set("n", 1); $user = $session->get("user"); $session->migrate(true); $session->set("after", 2);
            $session->save(); return [$user, $session->getId()];', $id);
        $this->assertSame('alice', $r->result[0]);
        $this->assertStringContainsString('after', $this->stored($r->result[1])['php']);
        $this->assertStringContainsString('alice', $this->stored($r->result[1])['php']);
        $this->assertGone($id);
        $r = $this->symfony('$session->start(); $session->invalidate(); $empty = $session->all(); $session->save(); return $empty;', $r->result[1]);
        $this->assertSame([], $r->result);
    }

    public function testSymfonyThroughTheRegisteredHandler(): void
    {
        $require = $this->need('/usr/share/php/Symfony/Component/HttpFoundation/autoload.php');
        $setup = <<<'PHP'
            use Symfony\Component\HttpFoundation\Session\Session;
            use Symfony\Component\HttpFoundation\Session\Storage\NativeSessionStorage;
            use Symfony\Component\HttpFoundation\Session\Storage\Proxy\AbstractProxy;

            SessionServer\SaveHandler::register(getenv('SESSION_DSN'));
            $session = new Session(new NativeSessionStorage([], new class extends AbstractProxy {}));
            PHP;
        $id = $this->inFile($require, $setup, '$session->start(); $session->set("n", 1); $session->save(); return $session->getId();', '')->result;
        $r = $this->inFile($require, $setup, '$session->start(); $session->migrate(true); $session->save(); return $session->getId();', $id, 'grace=60');
        $this->assertNotSame($id, $r->result);
        $this->assertSame($this->stored($r->result), $this->stored($id)); // the grace is there
    }

    private const LARAVEL = <<<'PHP'
        use Illuminate\Config\Repository;
        use Illuminate\Container\Container;
        use Illuminate\Session\SessionManager;

        $app = new Container();
        $app->instance('config', new Repository(['session' => ['driver' => 'sessionserver', 'cookie' => 'laravel_session', 'lifetime' => 120]]));
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
        $id = $this->inFile($require, self::LARAVEL, '$store->start(); $store->put("user", "alice"); $store->save(); return $store->getId();', '')->result;
        $this->assertSame(40, strlen($id));
        $this->assertFree($id);
        $r = $this->inFile($require, self::LARAVEL, "\$store->setId('$id'); " . '$store->start(); $user = $store->get("user"); $store->migrate(true); $store->put("n", 1);
            $store->save(); return [$user, $store->getId()];', '');
        $this->assertSame('alice', $r->result[0]);
        $this->assertStringContainsString('alice', $this->stored($r->result[1])['php']);
        $this->assertGone($id);
        $r = $this->inFile($require, self::LARAVEL, "\$store->setId('{$r->result[1]}'); " . '$store->start(); $store->invalidate(); $store->save(); return $store->all();', '');
        $this->assertArrayNotHasKey('user', $r->result);
    }

    /** What PEAR's class does that matters here: it calls setDefaults first, and saves when it is destroyed. */
    private const PEAR = <<<'PHP'
        abstract class HTTP_Session2_Container {
            protected $options = [];
            public function __construct($options = null) {
                $this->setDefaults();
                foreach ($options ?? [] as $name => $value) if (array_key_exists($name, $this->options)) $this->options[$name] = $value;
            }
            public function __destruct() { session_write_close(); }
            protected function setDefaults() {}
            abstract public function open($save_path, $session_name);
            abstract public function close();
            abstract public function read($id);
            abstract public function write($id, $data);
            abstract public function destroy($id);
            abstract public function gc($maxlifetime);
            abstract public function replicate($target, $id = null);
            abstract public function set();
        }
        PHP;

    public function testHttpSession2(): void
    {
        $file = dirname(__DIR__) . '/pear/HTTP/Session2/Container/SessionServer.php';
        $require = "require '$file';";
        $setup = '$container = new HTTP_Session2_Container_SessionServer(["dsn" => getenv("SESSION_DSN")]); $container->set();';
        $double = self::$server->dir . '/HTTP/Session2/Container.php';
        mkdir(dirname($double), 0700, true);
        file_put_contents($double, "<?php\n" . self::PEAR);
        $require = "set_include_path('" . self::$server->dir . "'); $require";
        // It proposes ids itself, as HTTP_Session2::start does.
        $id = $this->inFile($require, $setup, 'session_id(uniqid(dechex(rand()))); session_start(); $_SESSION["n"] = 1; session_write_close(); return session_id();', '')->result;
        $this->assertMatchesRegularExpression('/^[0-9a-f]{32}$/', $id);
        $this->assertSame(['php' => 'n|i:1;'], $this->stored($id));
        $r = $this->inFile($require, $setup, 'session_start(); $_SESSION["n"]++; return $_SESSION["n"];', $id);
        $this->assertSame(2, $r->result);
        $this->assertSame(['php' => 'n|i:2;'], $this->stored($id));
        $this->inFile($require, $setup, 'session_start(); session_destroy();', $id);
        $this->assertGone($id);
        // and by hand
        $r = $this->inFile($require, '$container = new HTTP_Session2_Container_SessionServer(["dsn" => getenv("SESSION_DSN")]);', '$id = str_repeat("f", 32);
            $container->open("", ""); $got = [$container->read($id)]; $container->write($id, "data"); $container->close(); $got[] = $container->read($id);
            $container->destroy($id); $got[] = $container->gc(1); try { $container->replicate("x"); } catch (BadMethodCallException $e) { $got[] = $e->getMessage(); }
            return $got;', '');
        $this->assertSame(['', 'data', true], array_slice($r->result, 0, 3));
        $this->assertGone(str_repeat('f', 32));
    }
}
