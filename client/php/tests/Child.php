<?php

declare(strict_types=1);

namespace SessionServer\Tests;

/**
 * A program that runs beside a test. Its destructor kills it.
 */
final class Child
{
    /** Seconds after which a test fails that waits for the program. */
    private const TIMEOUT = 60;

    /** @var resource */
    private $process;
    /** @var array<resource> */
    private array $pipes = [];
    private int $pid;
    private ?int $status = null;

    /**
     * @param list<string> $command
     * @param ?string $log file for the output; null: the output is read by this class
     */
    public function __construct(array $command, private readonly ?string $log = null, ?array $env = null)
    {
        $output = $log === null ? ['pipe', 'w'] : ['file', $log, 'a'];
        $descriptors = [['pipe', 'r'], $output, $log === null ? ['redirect', 1] : $output];
        $this->process = proc_open($command, $descriptors, $this->pipes, null, $env);
        if ($this->process === false) {
            throw new \RuntimeException("cannot start $command[0]");
        }
        $this->pid = proc_get_status($this->process)['pid'];
        if ($log === null) {
            stream_set_timeout($this->pipes[1], self::TIMEOUT);
        }
    }

    public function pid(): int
    {
        return $this->pid;
    }

    /** Writes a line to the program's input. */
    public function send(string $line): void
    {
        fwrite($this->pipes[0], $line . "\n");
    }

    /** Reads a line of the program's output. */
    public function readLine(): string
    {
        $line = fgets($this->pipes[1]);
        if ($line === false) {
            throw new \RuntimeException("process $this->pid printed no line");
        }
        return rtrim($line, "\n");
    }

    /** Reads the output until the program ends. */
    public function readAll(): string
    {
        fclose($this->pipes[0]);
        $output = stream_get_contents($this->pipes[1]);
        $this->wait();
        return $output;
    }

    /** Waits for a match in the log behind an offset, and returns it. */
    public function awaitLog(string $pattern, int $offset = 0): array
    {
        for ($end = microtime(true) + self::TIMEOUT; microtime(true) < $end; usleep(2000)) {
            if (preg_match($pattern, substr((string) file_get_contents($this->log), $offset), $m)) {
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

    /** Waits for the end of the program and returns its exit status. */
    public function wait(): int
    {
        if ($this->status === null) {
            $end = microtime(true) + self::TIMEOUT;
            while (($status = proc_get_status($this->process))['running']) {
                if (microtime(true) > $end) {
                    throw new \RuntimeException("process $this->pid is still running");
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
