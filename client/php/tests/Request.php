<?php

declare(strict_types=1);

namespace SessionServer\Tests;

/**
 * A PHP request in a process of its own, with a cookie. It registers the save handler and runs the given code. A call
 * of gate('name') in the code waits until the test calls resume(). The result is the return value of the code.
 */
final class Request
{
    private readonly Child $process;
    private readonly string $file;

    /** @param array<string, string|int> $ini */
    public function __construct(string $dsn, string $code, string $cookie = '', array $ini = [])
    {
        $this->file = tempnam(sys_get_temp_dir(), 'request');
        $autoload = var_export(dirname(__DIR__) . '/autoload.php', true);
        $cookie = var_export($cookie, true);
        file_put_contents($this->file, <<<PHP
            <?php
            declare(strict_types=1);
            require $autoload;
            if ($cookie !== '') \$_COOKIE[session_name()] = $cookie;
            function gate(string \$name): void { fwrite(STDOUT, "gate \$name\\n"); fgets(STDIN); }
            ob_start(); // output would send the headers
            \$handler = SessionServer\\SaveHandler::register();
            \$result = (static function () use (\$handler) {
            $code
            })();
            \$printed = ob_get_clean();
            if (session_status() === PHP_SESSION_ACTIVE) session_write_close();
            echo "\\n", base64_encode(serialize(['result' => \$result, 'id' => session_id(),
                'session' => \$_SESSION ?? null, 'roundTrips' => \$handler->roundTrips(),
                'printed' => \$printed])), "\\n";
            PHP);
        $arguments = [];
        $defaults = ['display_errors' => 'stderr', 'log_errors' => '0', 'html_errors' => '0',
            'session.save_path' => $dsn, 'session.gc_probability' => '0', 'zend.exception_ignore_args' => '0'];
        foreach ($ini + $defaults as $name => $value) {
            array_push($arguments, '-d', "$name=\"$value\"");
        }
        $this->process = new Child(['php', ...$arguments, $this->file]);
    }

    /** Waits until the code has reached gate($name). */
    public function await(string $name): self
    {
        do {
            $line = $this->process->readLine();
        } while ($line === '');
        if ($line !== "gate $name") {
            throw new \RuntimeException("expected gate $name, got $line\n" . $this->process->readAll());
        }
        return $this;
    }

    /** Continues the code after a gate. */
    public function resume(): self
    {
        $this->process->send('go');
        return $this;
    }

    public function kill(): void
    {
        $this->process->kill();
    }

    /** Waits for the end of the request and returns everything that it printed. */
    public function output(): string
    {
        return $this->process->readAll();
    }

    /** Waits for the end of the request and returns its result. */
    public function finish(): Result
    {
        $output = $this->process->readAll();
        $lines = explode("\n", rtrim($output));
        $result = @unserialize((string) base64_decode(array_pop($lines)));
        if (!is_array($result)) {
            throw new \RuntimeException("the request ended early:\n$output");
        }
        $result['printed'] .= trim(implode("\n", $lines));
        return new Result(...$result);
    }

    public function __destruct()
    {
        unlink($this->file);
    }
}
