<?php

declare(strict_types=1);

namespace SessionServer\Tests;

/**
 * A request as PHP sees it: a process of its own, with a cookie. It runs code between session_start() and whatever the code
 * does; gate('name') in it stops until the test lets it go on; its result is what it returns.
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
            function gate(string \$say): void { fwrite(STDOUT, "gate \$say\\n"); fgets(STDIN); }
            ob_start(); // so that PHP does not find that headers have been sent
            \$handler = SessionServer\\SaveHandler::register();
            \$result = (static function () use (\$handler) {
            $code
            })();
            \$printed = ob_get_clean();
            if (session_status() === PHP_SESSION_ACTIVE) session_write_close();
            echo "\\n", base64_encode(serialize(['result' => \$result, 'id' => session_id(), 'session' => \$_SESSION ?? null,
                'roundTrips' => \$handler->roundTrips(), 'printed' => \$printed])), "\\n";
            PHP);
        $arguments = [];
        $defaults = ['display_errors' => 'stderr', 'log_errors' => '0', 'html_errors' => '0', 'session.save_path' => $dsn,
            'session.gc_probability' => '0', 'zend.exception_ignore_args' => '0'];
        foreach ($ini + $defaults as $name => $value) {
            array_push($arguments, '-d', "$name=\"$value\"");
        }
        $this->process = new Child(['php', ...$arguments, $this->file]);
    }

    /** Waits until it has come to gate($name). */
    public function at(string $name): self
    {
        do {
            $line = $this->process->line();
        } while ($line === '');
        if ($line !== "gate $name") {
            throw new \RuntimeException("instead of gate $name: $line\n" . $this->process->rest());
        }
        return $this;
    }

    /** Lets it go on behind a gate. */
    public function go(): self
    {
        $this->process->say('go');
        return $this;
    }

    public function kill(): void
    {
        $this->process->kill();
    }

    /** What it has printed, without its result, when it has ended. */
    public function output(): string
    {
        return $this->process->rest();
    }

    /** Its result, if it ended as it should. */
    public function end(): Result
    {
        $output = $this->process->rest();
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
