<?php

declare(strict_types=1);

namespace SessionServer\Tests;

/**
 * A program that runs beside a test. It is killed when its object is gone.
 */
final class Child
{
    /** Seconds after which a test says that what should happen at once does not happen. */
    private const PATIENCE = 60;

    /** @var resource */
    private $process;
    /** @var array<resource> */
    private array $pipes = [];
    private int $pid;
    private ?int $status = null;

    /**
     * @param list<string> $command
     * @param ?string $log file that takes what it prints; null: it can be read here
     */
    public function __construct(array $command, private readonly ?string $log = null, ?array $env = null)
    {
        $output = $log === null ? ['pipe', 'w'] : ['file', $log, 'a'];
        $this->process = proc_open($command, [['pipe', 'r'], $output, $log === null ? ['redirect', 1] : $output], $this->pipes, null, $env);
        if ($this->process === false) {
            throw new \RuntimeException("$command[0] does not start");
        }
        $this->pid = proc_get_status($this->process)['pid'];
        if ($log === null) {
            stream_set_timeout($this->pipes[1], self::PATIENCE);
        }
    }

    public function pid(): int
    {
        return $this->pid;
    }

    /** Writes a line to its input. */
    public function say(string $line): void
    {
        fwrite($this->pipes[0], $line . "\n");
    }

    /** Reads a line of its output. */
    public function line(): string
    {
        $line = fgets($this->pipes[1]);
        if ($line === false) {
            throw new \RuntimeException("process $this->pid says nothing");
        }
        return rtrim($line, "\n");
    }

    /** Reads its output until it ends. */
    public function rest(): string
    {
        fclose($this->pipes[0]);
        $rest = stream_get_contents($this->pipes[1]);
        $this->wait();
        return $rest;
    }

    /** Waits for a line in its log that matches. */
    public function logged(string $pattern, int $after = 0): array
    {
        for ($end = microtime(true) + self::PATIENCE; microtime(true) < $end; usleep(2000)) {
            if (preg_match($pattern, substr((string) file_get_contents($this->log), $after), $m)) {
                return $m;
            }
            if (!proc_get_status($this->process)['running']) {
                break;
            }
        }
        throw new \RuntimeException("waiting for $pattern:\n" . substr(file_get_contents($this->log), -4000));
    }

    public function signal(int $signal): void
    {
        if ($this->status === null) {
            posix_kill($this->pid, $signal);
        }
    }

    public function kill(): void
    {
        $this->signal(9);
        $this->wait();
    }

    /** Answers its exit status. */
    public function wait(): int
    {
        if ($this->status === null) {
            $end = microtime(true) + self::PATIENCE;
            while (($status = proc_get_status($this->process))['running']) {
                if (microtime(true) > $end) {
                    throw new \RuntimeException("process $this->pid does not end");
                }
                usleep(1000);
            }
            $this->status = $status['exitcode'];
            proc_close($this->process);
        }
        return $this->status;
    }

    public function __destruct()
    {
        $this->kill();
    }
}
