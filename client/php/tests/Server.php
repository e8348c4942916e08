<?php

declare(strict_types=1);

namespace SessionServer\Tests;

use SessionServer\Client;

/**
 * A running server with its own storage and port, which it keeps over a restart.
 */
final class Server
{
    public string $address = '127.0.0.1:0';
    public readonly string $dir;
    private ?Child $process = null;
    private int $mark = 0;

    /** @param string $config additional configuration; by default tests may choose ids */
    public function __construct(private readonly string $config = 'session: {strict: false}')
    {
        $this->dir = sys_get_temp_dir() . '/sessionserver-' . bin2hex(random_bytes(8));
        mkdir($this->dir, 0700);
        $this->start();
    }

    public function start(): void
    {
        file_put_contents("$this->dir/config.yaml", <<<YAML
            listen:
              - {name: main, address: "$this->address", allow: [127.0.0.1], anonymous: dev/app}
              - {name: unix, address: "unix:$this->dir/socket", anonymous: dev/app}
            storage: {path: "$this->dir/state", sync: never}
            log: {format: json, level: debug}
            $this->config
            YAML);
        $log = "$this->dir/log";
        clearstatcache();
        $before = is_file($log) ? filesize($log) : 0;
        $binary = getenv('SESSIONSERVER_BINARY')
            ?: throw new \RuntimeException('SESSIONSERVER_BINARY is not set (run go test ./client/php)');
        $this->process = new Child([$binary, 'serve', '--config', "$this->dir/config.yaml"], $log);
        $this->process->awaitLog('/"msg":"listening","listener":"unix"/', $before);
        $pattern = '/"msg":"listening","listener":"main","address":"([^"]+)"/';
        $this->address = $this->process->awaitLog($pattern, $before)[1];
    }

    public function dsn(string $query = ''): string
    {
        return "tcp://$this->address" . ($query === '' ? '' : "?$query");
    }

    public function unixDsn(string $query = ''): string
    {
        return "unix://$this->dir/socket" . ($query === '' ? '' : "?$query");
    }

    public function client(string $query = ''): Client
    {
        return new Client($this->dsn($query));
    }

    /** Kills the server without a shutdown. */
    public function kill(): void
    {
        $this->process->kill();
    }

    /** Stops the process. Its connections remain open and silent. */
    public function freeze(): void
    {
        $this->process->signal(SIGSTOP);
        pcntl_waitpid($this->process->pid(), $status, WUNTRACED); // until all its threads have stopped
    }

    public function thaw(): void
    {
        $this->process->signal(SIGCONT);
    }

    public function restart(): void
    {
        $this->kill();
        $this->start();
    }

    /** Asks the server to shut down. */
    public function drain(): void
    {
        $this->process->signal(15);
        $this->process->awaitLog('/"msg":"draining"/');
    }

    /** Sets the position in the log from which awaitWaiter reads. */
    public function mark(): void
    {
        clearstatcache();
        $this->mark = filesize("$this->dir/log");
    }

    /** Waits until a request waits in the queue of a lock. */
    public function awaitWaiter(): void
    {
        $this->process->awaitLog('/"msg":"waiting for a lock"/', $this->mark);
        $this->mark();
    }

    public function __destruct()
    {
        $this->kill();
        exec('rm -rf ' . escapeshellarg($this->dir));
    }
}
