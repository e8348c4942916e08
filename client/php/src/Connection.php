<?php

declare(strict_types=1);

namespace SessionServer;

use SessionServer\Exception\BadAuthException;
use SessionServer\Exception\ConnectionException;
use SessionServer\Exception\DsnException;
use SessionServer\Exception\ServerException;
use SessionServer\Exception\TimeoutException;

/**
 * One connection to a server. It sends requests in RESP, any number in one round trip, and reads their replies. It
 * connects on first use, authenticates in the first round trip and counts the round trips.
 *
 * A persistent stream outlives the PHP request that opened it, even one that dies with an open session and unread
 * replies. The first exchange on a stream from an earlier request therefore begins with a ping of random text and a
 * reset. A stream with any other reply to the ping contains old replies and is closed, before another session's data
 * could be read from it. The reset drops a session that was left open, before any request could change it. As far as
 * PHP still runs it, release() also closes a stream on which an exchange or a session was interrupted, so that the lock
 * is free sooner.
 *
 * A network path may be dead without any sign of it. The DSN's timeout limits the time for the connection and for all
 * replies before that to an open. The reply to an open may take the wait for the lock in addition, which the server
 * reports in its first reply. An idle stream whose ping has no reply within a part of the timeout is replaced.
 *
 * A stream belongs to the process that opened it. A forked child first drops the streams of its parent and opens its
 * own: two processes on one stream would read each other's replies.
 *
 * @internal use Client
 */
final class Connection
{
    /** Commands whose effect ends with the connection, unless another command saves it before. */
    private const UNSAVED_COMMANDS = ['new', 'open', 'get', 'get_all', 'keys', 'exists', 'stat', 'put', 'put_all',
        'remove', 'abort', 'ping', 'whoami', 'hello'];

    /** Idle seconds after which a stream is probed before use. */
    private const PROBE_AFTER = 1.0;

    /** The part of the timeout within which a probed stream must reply to a ping. */
    private const PROBE_SHARE = 0.2;

    /** The smallest timeout of a stream, in seconds. */
    private const MIN_TIMEOUT = 0.001;

    /** The maximum number of bits of a process id. */
    private const PID_BITS = 22;

    /** The longest path of a socket, in bytes, that every system supports. */
    private const SOCKET_MAX = 103;

    /** @var array<string, array<int, true>> persistent streams in use in this request, by address and slot */
    private static array $taken = [];

    /** @var array<int, array<string, resource>> released persistent TLS streams, by process and stream key */
    private static array $kept = [];

    /** @var resource|null */
    private $stream = null;
    private int $pid = 0;             // the process that opened the stream
    private string $persistentId = '';
    private int $slot = 0;
    private bool $fresh = false;      // the stream has had no exchange in this request
    private bool $reused = false;     // the stream is from an earlier request
    private bool $needsProbe = false; // the stream has been idle, so the path to the server may be dead
    private bool $identityUnknown = false; // a reset or auth has changed the identity on the server
    private float $lockWait = 0.0;    // the tenant's wait for a lock, in seconds, for requests without an explicit one
    private float $deadline = 0.0;    // of the exchange, up to its first open
    private float $lastUse = 0.0;
    private float $limit = 0.0;       // the current timeout, for messages
    private bool $exchanging = false; // requests have been sent and some replies are missing
    private int $received = 0;        // number of replies of the last exchange
    private float $readTimeout = 0.0; // the timeout set on the stream
    private int $roundTrips = 0;

    /** Whether a session is open on the server. Client maintains it. */
    public bool $sessionOpen = false;

    private readonly Dialer $dialer;

    /**
     * @param bool $forPhp the connection carries PHP's own session, and is kept until PHP has saved it
     * @param ?\Closure(string): list<string> $resolve returns the addresses of a host; null: the system's resolver
     */
    public function __construct(
        private readonly Dsn $dsn,
        private readonly bool $forPhp = false,
        ?\Closure $resolve = null,
    ) {
        $this->dialer = new Dialer($dsn, $resolve);
        if ($dsn->persistent || $dsn->scheme === 'tls') {
            // PHP runs shutdown functions after a fatal error, but no destructors. This function registers itself again
            // to run after all others, such as the one that saves $_SESSION.
            $weak = \WeakReference::create($this);
            register_shutdown_function(static fn () => register_shutdown_function(static function () use ($weak): void {
                self::dropInherited();
                $weak->get()?->shutDown();
            }));
        }
    }

    public function __destruct()
    {
        $this->detachFromParent();
        // An exit in a shutdown function skips the one that saves $_SESSION. PHP then saves after the destructors.
        if (session_status() !== PHP_SESSION_ACTIVE) {
            $this->release();
        }
    }

    /** Releases the stream, unless PHP saves $_SESSION after this shutdown function. */
    private function shutDown(): void
    {
        $this->detachFromParent();
        if (!$this->forPhp || session_status() !== PHP_SESSION_ACTIVE) {
            $this->release();
        }
    }

    /**
     * Drops the streams inherited from a parent process without sending anything. The parent continues to use them, with
     * everything that was done on them.
     */
    public function detachFromParent(): void
    {
        self::dropInherited();
        if ($this->stream !== null && $this->pid !== getmypid()) {
            InheritedStream::drop($this->stream);
            $this->stream = null;
            $this->close();
        }
    }

    private static function dropInherited(): void
    {
        foreach (array_diff_key(self::$kept, [getmypid() => true]) as $parent => $streams) {
            unset(self::$kept[$parent]);
            array_map(InheritedStream::drop(...), $streams);
        }
    }

    /** Returns the seconds of a monotonic clock. */
    public static function now(): float
    {
        return hrtime(true) / 1e9;
    }

    /** Returns the number of round trips. */
    public function roundTrips(): int
    {
        return $this->roundTrips;
    }

    /** Reports whether there is a stream from an earlier exchange, which the server may have closed meanwhile. */
    public function mayBeStale(): bool
    {
        return $this->stream !== null;
    }

    /** Returns the number of replies of the last exchange, also if it failed. */
    public function received(): int
    {
        return $this->received;
    }

    /**
     * Sends requests and returns their replies, error replies included.
     *
     * @param list<list<string>> $requests
     * @return list<mixed> strings, integers, null, lists of these, or ServerException
     * @throws ConnectionException when the connection cannot be made or breaks; it is closed then
     * @throws ServerException when the server refuses the connection or the credentials
     * @throws DsnException when the certificate belongs to another tenant than the DSN
     */
    public function exchange(#[\SensitiveParameter] array $requests): array
    {
        $this->detachFromParent();
        if ($this->exchanging) {
            $this->close(); // an exception, for example from a signal handler, has left replies unread
        }
        // PHP also reports broken connections as notices, and an application's error handler may ignore the @ operator.
        set_error_handler(static fn (): bool => true);
        try {
            return $this->exchangeWithRetry($requests);
        } finally {
            restore_error_handler();
            $this->lastUse = self::now();
        }
    }

    /** Exchanges, and retries on a new stream if a reused one turns out to be unusable. */
    private function exchangeWithRetry(#[\SensitiveParameter] array $requests): array
    {
        $this->deadline = self::now() + $this->dsn->timeout;
        $this->received = 0;
        $retriable = $this->stream !== null && !$this->sessionOpen;
        $this->needsProbe = $retriable && self::now() - $this->lastUse > self::PROBE_AFTER;
        if ($this->stream === null) {
            $this->connect();
            $this->needsProbe = $retriable = $this->reused;
        }
        if ($retriable) {
            try {
                $replies = $this->greetAndSend($requests);
            } catch (ConnectionException $e) {
                if ($this->received > 0 || $e instanceof TimeoutException && !$this->needsProbe) {
                    throw $e;
                }
                $replies = null;
            }
            if ($replies !== null) {
                return $replies;
            }
            $this->close(); // the server rolls back what was begun on the stream
            $this->needsProbe = false;
            $this->connect(true);
        }
        return $this->greetAndSend($requests) ?? throw $this->fail('unexpected reply');
    }

    /**
     * Returns the request that authenticates. Its reply contains the identity of the client and the tenant's wait for
     * locks.
     *
     * @return non-empty-list<string>
     */
    public function helloRequest(): array
    {
        return $this->dsn->secret === null ? ['hello']
            : ['hello', '2', 'auth', $this->dsn->tenant . '/' . $this->dsn->app, $this->dsn->secret->reveal()];
    }

    /** Reports whether the certificate decides the tenant, which must then be compared with that of the DSN. */
    private function verifiesTenant(): bool
    {
        return $this->dsn->tenant !== '' && $this->dsn->secret === null;
    }

    /** Reads the identity from the reply to hello. Throws if it is of another tenant than the DSN. */
    private function checkIdentity(mixed $reply): void
    {
        $identity = is_array($reply) ? Client::map($reply) : [];
        $this->identityUnknown = false;
        $this->lockWait = (int) ($identity['lock_wait_ms'] ?? 0) / 1000;
        $tenant = $identity['tenant'] ?? '';
        if ($this->verifiesTenant() && $tenant !== '' && $tenant !== $this->dsn->tenant) {
            $this->close();
            throw new DsnException(["tenant: the certificate in certfile authenticates for the tenant $tenant"
                . " and the DSN has the tenant {$this->dsn->tenant}, nothing was saved (correct one of them)"]);
        }
    }

    /** Returns the exception for refused credentials with advice on what to check. */
    public function withAdvice(ServerException $e): ServerException
    {
        return !$e instanceof BadAuthException ? $e
            : $e->advise("check app, tenant and secret in the DSN {$this->dsn->redacted()},"
                . ' and whether the secret was rotated or revoked');
    }

    /** Exchanges, with the greeting that a new or idle stream needs. Returns null for a stream with old replies. */
    private function greetAndSend(#[\SensitiveParameter] array $requests): ?array
    {
        $nonce = $this->needsProbe ? bin2hex(random_bytes(8)) : '';
        $greeting = $nonce === '' ? [] : [['ping', $nonce]];
        if ($this->fresh && $this->reused) {
            $greeting[] = ['reset'];
        }
        if ($this->fresh || $this->identityUnknown) {
            $greeting[] = $this->fresh ? $this->helloRequest() : ['hello'];
        }
        if (($nonce !== '' || $this->fresh && $this->verifiesTenant()) && !self::isUndoneByClose($requests)) {
            // A save for another tenant could not be undone, and a dead path might deliver a save later. So requests
            // that save wait for the replies to the greeting.
            if ($this->send($greeting, count($greeting), $nonce) === null) {
                return null;
            }
            $greeting = [];
            $nonce = '';
        }
        return $this->send([...$greeting, ...$requests], count($greeting), $nonce);
    }

    /** Reports whether the end of the connection undoes all effects of the requests. */
    private static function isUndoneByClose(#[\SensitiveParameter] array $requests): bool
    {
        $names = array_map(static fn (array $request) => strtolower($request[0]), $requests);
        return array_diff($names, self::UNSAVED_COMMANDS) === [];
    }

    /** @param int $greeting number of leading requests that are a greeting; their replies are checked and removed */
    private function send(#[\SensitiveParameter] array $requests, int $greeting, string $nonce): ?array
    {
        $this->exchanging = true;
        $this->roundTrips++;
        $names = array_map(static fn (array $request) => strtolower($request[0]), $requests);
        // The server never waits before the replies to the greeting and to all requests before an open.
        $immediate = max($greeting, (int) array_search('open', $names, true));
        $this->limit($this->dsn->timeout, $this->deadline - self::now()); // also for writing
        $this->write(Resp::encode($requests));
        $replies = [];
        foreach ($requests as $i => $request) {
            if ($i === 0 && $nonce !== '') {
                $this->limit($this->dsn->timeout * self::PROBE_SHARE);
            } elseif ($i < $immediate) {
                $this->limit($this->dsn->timeout, $this->deadline - self::now());
            } else {
                $this->limit($this->dsn->timeout + $this->lockWaitOf($request));
            }
            $reply = $this->reply($request[0]);
            $success = !$reply instanceof ServerException;
            if ($i === 0 && $nonce !== '') {
                if ($reply !== $nonce) {
                    return null;
                }
                $this->needsProbe = false;
            }
            if ($i >= $greeting) {
                $replies[] = $reply;
                $this->received++;
            } elseif (!$success) {
                $this->close();
                throw $this->withAdvice($reply);
            }
            if ($success && $names[$i] === 'hello') {
                $this->checkIdentity($reply);
            } elseif ($success && ($names[$i] === 'auth' || $names[$i] === 'reset')) {
                $this->identityUnknown = true;
            }
        }
        $this->exchanging = $this->fresh = false;
        return $replies;
    }

    /** Returns the seconds that the server may wait for a lock before it replies to a request. */
    private function lockWaitOf(#[\SensitiveParameter] array $request): float
    {
        if (strcasecmp($request[0], 'open') !== 0) {
            return 0.0;
        }
        return isset($request[3]) ? (int) $request[3] / 1000 : $this->lockWait;
    }

    private function write(#[\SensitiveParameter] string $bytes): void
    {
        for ($length = strlen($bytes), $written = 0; $written < $length; $written += $n) {
            $n = fwrite($this->stream, $written === 0 ? $bytes : substr($bytes, $written));
            if ($n === false || $n === 0) {
                $this->throwRejection();
                throw $this->fail('connection lost while sending');
            }
        }
    }

    /**
     * Sets the timeout for the next reads and writes.
     *
     * @param float $seconds the timeout for messages
     * @param ?float $left the remaining seconds, if a part of the timeout has passed
     */
    private function limit(float $seconds, ?float $left = null): void
    {
        $this->limit = $seconds;
        $left = max(self::MIN_TIMEOUT, $left ?? $seconds);
        if ($left !== $this->readTimeout) {
            stream_set_timeout($this->stream, (int) $left, (int) (fmod($left, 1) * 1e6));
            $this->readTimeout = $left;
        }
    }

    /** Throws the error that the server sent as a line before it closed the connection, if there is one. */
    private function throwRejection(): void
    {
        $line = stream_get_meta_data($this->stream)['timed_out'] ? false : fgets($this->stream);
        if ($line !== false && str_starts_with($line, 'err ')) {
            $this->close();
            throw ServerException::fromReply(rtrim(substr($line, 4)));
        }
    }

    private function reply(string $command): mixed
    {
        $line = fgets($this->stream);
        if ($line === false || !str_ends_with($line, "\r\n")) {
            throw $this->fail('connection lost while waiting for a reply');
        }
        $text = substr($line, 1, -2);
        switch ($line[0]) {
            case '+':
                return $text;
            case ':':
                return (int) $text;
            case '-':
                return ServerException::fromReply($text, $command);
            case '$':
                $length = (int) $text;
                return $length < 0 ? null : $this->bulk($length);
            case '*':
                $items = [];
                for ($n = (int) $text; $n > 0; $n--) {
                    $items[] = $this->reply($command);
                }
                return $items;
        }
        $this->close();
        if (str_starts_with($line, 'err ')) { // the server rejects a connection with a line
            throw ServerException::fromReply(substr($line, 4, -2));
        }
        throw new ConnectionException('sessionserver: the server at ' . $this->dsn->address()
            . ' is not a sessionserver (check host and port in the DSN)');
    }

    private function bulk(int $length): string
    {
        $bytes = stream_get_contents($this->stream, $length + 2);
        if ($bytes === false || strlen($bytes) !== $length + 2) {
            throw $this->fail('connection lost in the middle of a reply');
        }
        return substr($bytes, 0, -2);
    }

    /** Closes the connection and returns the exception with the reason. */
    private function fail(string $reason): ConnectionException
    {
        $timedOut = stream_get_meta_data($this->stream)['timed_out'];
        $this->close();
        $prefix = 'sessionserver: ' . $this->dsn->address() . ': ';
        return $timedOut ? new TimeoutException($prefix . "no reply within $this->limit s")
            : new ConnectionException($prefix . $reason . '; unsaved changes are lost');
    }

    /** @param bool $new whether to close persistent streams from earlier requests */
    private function connect(bool $new = false): void
    {
        $this->pid = getmypid();
        $key = $this->dsn->persistent && !self::isFinalSave() ? $this->claimKey() ?? '' : '';
        $stream = $key === '' ? null : $this->dialer->find($key);
        while ($new && $stream !== null) {
            fclose($stream);
            $stream = $this->dialer->find($key);
        }
        $this->reused = $stream !== null;
        try {
            $this->stream = $stream ?? $this->dialer->connect($key, $this->deadline);
        } catch (ConnectionException $e) {
            $this->close();
            throw $e;
        }
        $this->fresh = true;
        $this->readTimeout = 0.0;
    }

    /**
     * Reports whether PHP calls the save handler itself as the last step of a request. PHP has already released the
     * persistent streams then. One that is opened or found after that would keep memory that is freed with this request
     * (its context), and the next request that uses it would crash the process.
     */
    private static function isFinalSave(): bool
    {
        $trace = debug_backtrace(DEBUG_BACKTRACE_IGNORE_ARGS);
        $outermost = end($trace);
        return is_a($outermost['class'] ?? '', \SessionHandlerInterface::class, true);
    }

    /**
     * Claims a persistent stream that is unused in this request, and returns its key. PHP identifies persistent streams
     * by their address, also those of the parent of a fork. The key makes the address unique and has no effect on the
     * connection: it is a path behind the port, or slashes and dots in the path of a socket. Returns null if that path
     * would be too long.
     */
    private function claimKey(): ?string
    {
        $isUnix = $this->dsn->scheme === 'unix';
        $this->persistentId = $this->pid . '-' . ($isUnix ? $this->dsn->socket : $this->dsn->fingerprint());
        for ($this->slot = 0; isset(self::$taken[$this->persistentId][$this->slot]); $this->slot++);
        $key = "/$this->persistentId-$this->slot";
        if ($isUnix) {
            $number = decbin($this->slot << self::PID_BITS | $this->pid);
            $key = '/' . strtr($number, ['0' => '/', '1' => './']) . substr($this->dsn->socket, 1);
            if (strlen($key) > self::SOCKET_MAX) {
                $this->persistentId = '';
                return null;
            }
        }
        self::$taken[$this->persistentId][$this->slot] = true;
        unset(self::$kept[$this->pid]["$this->persistentId-$this->slot"]);
        return $key;
    }

    /** Releases the stream. A persistent one without an open session or exchange is kept for the next request. */
    public function release(): void
    {
        $this->detachFromParent();
        if ($this->stream === null) {
            return;
        }
        if ($this->persistentId === '' || $this->exchanging || $this->sessionOpen || $this->fresh) {
            $this->close();
            return;
        }
        if ($this->dsn->scheme === 'tls') {
            self::$kept[$this->pid]["$this->persistentId-$this->slot"] = $this->stream;
        }
        $this->stream = null;
        unset(self::$taken[$this->persistentId][$this->slot]);
        $this->persistentId = '';
    }

    /** Closes the connection. The server drops unsaved changes and releases the lock. */
    public function close(): void
    {
        $this->detachFromParent();
        if ($this->stream !== null) {
            fclose($this->stream);
            $this->stream = null;
        }
        if ($this->persistentId !== '') {
            unset(self::$taken[$this->persistentId][$this->slot]);
            $this->persistentId = '';
        }
        $this->exchanging = $this->sessionOpen = $this->fresh = false;
    }

    public function __debugInfo(): array
    {
        return [
            'server' => $this->dsn->redacted(),
            'connected' => $this->stream !== null,
            'sessionOpen' => $this->sessionOpen,
            'roundTrips' => $this->roundTrips,
        ];
    }
}
