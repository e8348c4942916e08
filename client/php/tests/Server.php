<?php

declare(strict_types=1);

namespace SessionServer\Tests;

use SessionServer\Client;

/**
 * A real server with storage and a port of its own. It can be ended and started again with both.
 */
final class Server
{
    public string $address = '127.0.0.1:0';
    public readonly string $dir;
    private ?Child $process = null;
    private int $mark = 0;

    /** @param string $more of its configuration: unless it says otherwise, tests may choose ids */
    public function __construct(private readonly string $more = 'session: {strict: false}')
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
            $this->more
            YAML);
        $log = "$this->dir/log";
        clearstatcache();
        $before = is_file($log) ? filesize($log) : 0;
        $binary = getenv('SESSIONSERVER_BINARY') ?: throw new \RuntimeException('SESSIONSERVER_BINARY names no server: run go test ./client/php');
        $this->process = new Child([$binary, 'serve', '--config', "$this->dir/config.yaml"], $log);
        $this->process->logged('/"msg":"listening","listener":"unix"/', $before);
        $this->address = $this->process->logged('/"msg":"listening","listener":"main","address":"([^"]+)"/', $before)[1];
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

    /** Ends it in the middle of whatever it does. */
    public function kill(): void
    {
        $this->process->kill();
    }

    /** Stops it without a word: its connections stay, and nothing comes from it. */
    public function freeze(): void
    {
        $this->process->signal(SIGSTOP);
        pcntl_waitpid($this->process->pid(), $status, WUNTRACED); // its threads may go on for a moment
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

    /** Asks it to end in good order. */
    public function drain(): void
    {
        $this->process->signal(15);
        $this->process->logged('/"msg":"draining"/');
    }

    /** From here on awaitWaiter looks. */
    public function mark(): void
    {
        clearstatcache();
        $this->mark = filesize("$this->dir/log");
    }

    /** Waits until somebody waits for a lock: the place in its queue is certain then. */
    public function awaitWaiter(): void
    {
        $this->process->logged('/"msg":"waiting for a lock"/', $this->mark);
        $this->mark();
    }

    public function __destruct()
    {
        $this->kill();
        exec('rm -rf ' . escapeshellarg($this->dir));
    }
}
