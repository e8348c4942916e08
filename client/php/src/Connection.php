<?php

declare(strict_types=1);

namespace SessionServer;

use SessionServer\Exception\BadAuthException;
use SessionServer\Exception\ConnectionException;
use SessionServer\Exception\DsnException;
use SessionServer\Exception\ServerException;
use SessionServer\Exception\TimeoutException;

/**
 * One connection to a server: sends requests in RESP, any number at once, and reads their replies. It connects when it is
 * first needed, authenticates in the first round trip, and counts round trips.
 *
 * A persistent stream outlives the request of PHP that made it, also one that dies with a session open and replies under
 * way. So the first exchange on a stream from an earlier request begins with a ping of random text and a reset: a stream
 * that answers anything else has old replies in it and is thrown away, before one of them could be taken for somebody
 * else's session, and a session that was left open is dropped, before anything could be done to it. What a request leaves
 * behind in the middle of something is closed by release() as well, if PHP gets that far, so that its lock is free sooner.
 *
 * A path may be dead without a sign of it. The connection is made, and the replies to all that comes before an open have
 * come, within the time-out. The reply to an open takes up to the wait for the lock more, which the server says at first. A
 * stream that was not used for a while, and whose ping has no reply within a part of the time-out, is replaced.
 *
 * A stream belongs to the process that made it. A fork of that process lets go of it before anything else is done, and
 * makes one of its own: two processes on one stream would read each other's replies.
 *
 * @internal use Client
 */
final class Connection
{
    /** Commands whose work is undone by the end of the connection, if no other one comes between. */
    private const LEAVE_NOTHING = ['new', 'open', 'get', 'get_all', 'keys', 'exists', 'stat', 'put', 'put_all', 'remove', 'abort', 'ping', 'whoami', 'hello'];

    /** Seconds for which a stream is taken for good after it was used. */
    private const SURE = 1.0;

    /** The part of the time-out in which a stream that is not taken for good must reply to a ping. */
    private const PING_SHARE = 0.2;

    /** Seconds that the system is given at least. */
    private const LEAST = 0.001;

    /** How many bits the number of a process has at most. */
    private const PID_BITS = 22;

    /** A socket's path may not be longer than this, in bytes, on every system. */
    private const SOCKET_MAX = 103;

    /** @var array<string, array<int, true>> persistent streams in use in this request, by address and number */
    private static array $taken = [];

    /** @var array<int, array<string, resource>> persistent streams over TLS that are kept, by process and place */
    private static array $kept = [];

    /** @var resource|null */
    private $stream = null;
    private int $pid = 0;             // of the process that the stream belongs to
    private string $persistentId = '';
    private int $slot = 0;
    private bool $fresh = false;      // the stream has been made, or taken over, and is still to be greeted
    private bool $old = false;        // and it is from an earlier request
    private bool $doubtful = false;   // nothing says that anybody is still on the other end
    private bool $unsure = false;     // the server may take this for another app than it did
    private float $lockWait = 0.0;    // seconds that an open may take beyond the time-out, as the tenant says
    private float $deadline = 0.0;    // of the exchange, up to the first open in it
    private float $lastUse = 0.0;
    private float $limit = 0.0;       // the time-out that is counted now, as messages say
    private bool $exchanging = false; // requests are out whose replies are not all in
    private int $received = 0;        // replies of the last exchange
    private float $readTimeout = 0.0; // of the stream
    private int $roundTrips = 0;

    /** Whether a session is open on the other end; kept by Client. */
    public bool $sessionOpen = false;

    private readonly Dialer $dialer;

    /**
     * @param bool $forPhp PHP's own session goes over it: it is not let go of before PHP has saved that
     * @param ?\Closure(string): list<string> $resolve returns the addresses of a host; null: as the system does
     */
    public function __construct(private readonly Dsn $dsn, private readonly bool $forPhp = false, ?\Closure $resolve = null)
    {
        $this->dialer = new Dialer($dsn, $resolve);
        if ($dsn->persistent || $dsn->scheme === 'tls') {
            // PHP runs no destructors after a fatal error, but it runs shutdown functions. Those that others have registered,
            // such as the one that saves $_SESSION, come before: this one registers itself anew to be the last.
            $weak = \WeakReference::create($this);
            register_shutdown_function(static fn () => register_shutdown_function(static function () use ($weak): void {
                self::dropInherited();
                $weak->get()?->shutDown();
            }));
        }
    }

    public function __destruct()
    {
        $this->leaveParent();
        // An exit in a shutdown function skips the one that saves $_SESSION. PHP then runs destructors, and saves after them.
        if (session_status() !== PHP_SESSION_ACTIVE) {
            $this->release();
        }
    }

    /** Some applications have no shutdown function that saves $_SESSION: PHP will save after this one, too. */
    private function shutDown(): void
    {
        $this->leaveParent();
        if (!$this->forPhp || session_status() !== PHP_SESSION_ACTIVE) {
            $this->release();
        }
    }

    /**
     * Lets go of the streams of the process that this one is a fork of, without a word to the server: there they go on. What
     * was done on them is of that process.
     */
    public function leaveParent(): void
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

    /** Seconds on a clock that is never set. */
    public static function now(): float
    {
        return hrtime(true) / 1e9;
    }

    /** How many times requests were sent and their replies waited for. */
    public function roundTrips(): int
    {
        return $this->roundTrips;
    }

    /** Whether there is a stream that has been in use, so that the server may have closed it meanwhile. */
    public function mayBeStale(): bool
    {
        return $this->stream !== null;
    }

    /** How many replies the last exchange had when it ended, also when it failed. */
    public function received(): int
    {
        return $this->received;
    }

    /**
     * Sends requests and answers their replies; errors are among them, as objects.
     *
     * @param list<list<string>> $requests
     * @return list<mixed> strings, integers, null, lists of these, or ServerException
     * @throws ConnectionException when the connection cannot be made or breaks; it is closed then
     * @throws ServerException when the server refuses the connection or the credentials
     * @throws DsnException when the certificate belongs to another tenant than the DSN names
     */
    public function exchange(#[\SensitiveParameter] array $requests): array
    {
        $this->leaveParent();
        if ($this->exchanging) {
            $this->close(); // an exception from a signal handler, say, has left replies behind
        }
        // PHP tells of broken connections in notices as well, and not every application's handler of errors heeds an @.
        set_error_handler(static fn (): bool => true);
        try {
            return $this->tryTwice($requests);
        } finally {
            restore_error_handler();
            $this->lastUse = self::now();
        }
    }

    /** Exchanges, on a new stream if one that was used before turns out to be no good. */
    private function tryTwice(#[\SensitiveParameter] array $requests): array
    {
        $this->deadline = self::now() + $this->dsn->timeout;
        $this->received = 0;
        $spare = $this->stream !== null && !$this->sessionOpen;
        $this->doubtful = $spare && self::now() - $this->lastUse > self::SURE;
        if ($this->stream === null) {
            $this->connect();
            $this->doubtful = $spare = $this->old;
        }
        if ($spare) {
            try {
                $replies = $this->greetAndSend($requests);
            } catch (ConnectionException $e) {
                if ($this->received > 0 || $e instanceof TimeoutException && !$this->doubtful) {
                    throw $e;
                }
                $replies = null;
            }
            if ($replies !== null) {
                return $replies;
            }
            $this->close(); // it was dead or out of step. What was begun on it is undone with it.
            $this->doubtful = false;
            $this->connect(true);
        }
        return $this->greetAndSend($requests) ?? throw $this->broken('the connection is out of step');
    }

    /**
     * The request that says who the client is, and whose reply says who the server takes it for and how long the tenant waits
     * for locks.
     *
     * @return non-empty-list<string>
     */
    public function hello(): array
    {
        return $this->dsn->secret === null ? ['hello']
            : ['hello', '2', 'auth', $this->dsn->tenant . '/' . $this->dsn->app, $this->dsn->secret->reveal()];
    }

    /** Whether the certificate decides the tenant. It is good for one tenant, whichever the DSN names. */
    private function isUnsureOfTenant(): bool
    {
        return $this->dsn->tenant !== '' && $this->dsn->secret === null;
    }

    /** Takes what the reply to hello says. Throws if that is another tenant than the DSN names. */
    private function identify(mixed $reply): void
    {
        $facts = is_array($reply) ? Client::map($reply) : [];
        $this->unsure = false;
        $this->lockWait = (int) ($facts['lock_wait_ms'] ?? 0) / 1000;
        $tenant = $facts['tenant'] ?? '';
        if ($this->isUnsureOfTenant() && $tenant !== '' && $tenant !== $this->dsn->tenant) {
            $this->close();
            throw new DsnException(["tenant: the DSN names {$this->dsn->tenant}, but the server takes the certificate in certfile for one of the tenant "
                . "$tenant; nothing was saved"]);
        }
    }

    /** Adds what to check to what the server says of the credentials. */
    public function explain(ServerException $e): ServerException
    {
        return !$e instanceof BadAuthException ? $e
            : $e->advise("check app, tenant and secret in the DSN {$this->dsn->redacted()}: has the secret been rotated or revoked?");
    }

    /** Exchanges with what a new or doubtful stream needs before anything else; returns null if it is out of step. */
    private function greetAndSend(#[\SensitiveParameter] array $requests): ?array
    {
        $nonce = $this->doubtful ? bin2hex(random_bytes(8)) : '';
        $greeting = $nonce === '' ? [] : [['ping', $nonce]];
        if ($this->fresh && $this->old) {
            $greeting[] = ['reset'];
        }
        if ($this->fresh || $this->unsure) {
            $greeting[] = $this->fresh ? $this->hello() : ['hello'];
        }
        if (($nonce !== '' || $this->fresh && $this->isUnsureOfTenant()) && !self::leavesNothing($requests)) {
            // What is saved cannot be taken back from a wrong tenant. On a dead path it might be saved later: it waits for the
            // replies.
            if ($this->send($greeting, count($greeting), $nonce) === null) {
                return null;
            }
            $greeting = [];
            $nonce = '';
        }
        return $this->send([...$greeting, ...$requests], count($greeting), $nonce);
    }

    /** Whether nothing of the requests is left on the server if the connection ends behind them. */
    private static function leavesNothing(#[\SensitiveParameter] array $requests): bool
    {
        return array_diff(array_map(static fn (array $request) => strtolower($request[0]), $requests), self::LEAVE_NOTHING) === [];
    }

    /** @param int $greeting how many of the requests are a greeting; their replies are looked at here and left out */
    private function send(#[\SensitiveParameter] array $requests, int $greeting, string $nonce): ?array
    {
        $this->exchanging = true;
        $this->roundTrips++;
        $names = array_map(static fn (array $request) => strtolower($request[0]), $requests);
        $hurry = max($greeting, (int) array_search('open', $names, true)); // what comes before an open waits for nobody
        $this->limit($this->dsn->timeout, $this->deadline - self::now()); // of writing, too
        $this->write(Resp::requests($requests));
        $replies = [];
        foreach ($requests as $i => $request) {
            if ($i === 0 && $nonce !== '') {
                $this->limit($this->dsn->timeout * self::PING_SHARE);
            } elseif ($i < $hurry) {
                $this->limit($this->dsn->timeout, $this->deadline - self::now());
            } else {
                $this->limit($this->dsn->timeout + $this->lockWaitOf($request));
            }
            $reply = $this->reply($request[0]);
            $done = !$reply instanceof ServerException;
            if ($i === 0 && $nonce !== '') {
                if ($reply !== $nonce) {
                    return null;
                }
                $this->doubtful = false;
            }
            if ($i >= $greeting) {
                $replies[] = $reply;
                $this->received++;
            } elseif (!$done) {
                $this->close();
                throw $this->explain($reply);
            }
            if ($done && $names[$i] === 'hello') {
                $this->identify($reply);
            } elseif ($done && ($names[$i] === 'auth' || $names[$i] === 'reset')) {
                $this->unsure = true;
            }
        }
        $this->exchanging = $this->fresh = false;
        return $replies;
    }

    /** Seconds that the server may wait for a lock before it replies to a request. */
    private function lockWaitOf(#[\SensitiveParameter] array $request): float
    {
        return strcasecmp($request[0], 'open') !== 0 ? 0.0 : (isset($request[3]) ? (int) $request[3] / 1000 : $this->lockWait);
    }

    private function write(#[\SensitiveParameter] string $bytes): void
    {
        for ($length = strlen($bytes), $done = 0; $done < $length; $done += $n) {
            $n = fwrite($this->stream, $done === 0 ? $bytes : substr($bytes, $done));
            if ($n === false || $n === 0) {
                $this->farewell();
                throw $this->broken('the connection broke while sending');
            }
        }
    }

    /**
     * Limits the time for what is read and written next.
     *
     * @param float $seconds as messages say
     * @param ?float $left of them, if some of the time is over
     */
    private function limit(float $seconds, ?float $left = null): void
    {
        $this->limit = $seconds;
        $left = max(self::LEAST, $left ?? $seconds);
        if ($left !== $this->readTimeout) {
            stream_set_timeout($this->stream, (int) $left, (int) (fmod($left, 1) * 1e6));
            $this->readTimeout = $left;
        }
    }

    /** Throws why the server has closed the connection, if it has said so. */
    private function farewell(): void
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
            throw $this->broken('the connection broke while waiting for an answer');
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
        if (str_starts_with($line, 'err ')) { // a connection that is not wanted is told so in a line
            throw ServerException::fromReply(substr($line, 4, -2));
        }
        throw new ConnectionException('sessionserver: ' . $this->dsn->address() . ' answers, but is no sessionserver');
    }

    private function bulk(int $length): string
    {
        $bytes = stream_get_contents($this->stream, $length + 2);
        if ($bytes === false || strlen($bytes) !== $length + 2) {
            throw $this->broken('the connection broke in the middle of an answer');
        }
        return substr($bytes, 0, -2);
    }

    /** Closes the connection and makes the exception that says why. */
    private function broken(string $what): ConnectionException
    {
        $timedOut = stream_get_meta_data($this->stream)['timed_out'];
        $this->close();
        $where = 'sessionserver: ' . $this->dsn->address() . ': ';
        return $timedOut ? new TimeoutException($where . "no answer within $this->limit s")
            : new ConnectionException($where . $what . '; what was not saved is dropped');
    }

    /** @param bool $new throw away persistent streams from earlier requests */
    private function connect(bool $new = false): void
    {
        $this->pid = getmypid();
        $place = $this->dsn->persistent && !self::isTooLate() ? $this->take() ?? '' : '';
        $stream = $place === '' ? null : $this->dialer->kept($place);
        while ($new && $stream !== null) {
            fclose($stream);
            $stream = $this->dialer->kept($place);
        }
        $this->old = $stream !== null;
        try {
            $this->stream = $stream ?? $this->dialer->connect($place, $this->deadline);
        } catch (ConnectionException $e) {
            $this->close();
            throw $e;
        }
        $this->fresh = true;
        $this->readTimeout = 0.0;
    }

    /**
     * Whether PHP is ending the request and calls what saves the session, as the last thing and from nowhere. It has let go of
     * persistent streams then. One that is opened, or taken, still later keeps what is freed with this request (its context), and
     * crashes the process when another request uses it.
     */
    private static function isTooLate(): bool
    {
        $trace = debug_backtrace(DEBUG_BACKTRACE_IGNORE_ARGS);
        $first = end($trace);
        return is_a($first['class'] ?? '', \SessionHandlerInterface::class, true);
    }

    /**
     * Takes a persistent stream that nobody uses in this request, and returns what makes its address another than that of
     * others: PHP finds persistent streams by their address, and in a fork those of the parent as well. It makes no difference
     * to the system: a path behind the port, or slashes and dots in a socket's path. Null: the path would be too long.
     */
    private function take(): ?string
    {
        $isUnix = $this->dsn->scheme === 'unix';
        $this->persistentId = $this->pid . '-' . ($isUnix ? $this->dsn->socket : $this->dsn->fingerprint());
        for ($this->slot = 0; isset(self::$taken[$this->persistentId][$this->slot]); $this->slot++);
        $place = "/$this->persistentId-$this->slot";
        if ($isUnix) {
            $number = decbin($this->slot << self::PID_BITS | $this->pid);
            $place = '/' . strtr($number, ['0' => '/', '1' => './']) . substr($this->dsn->socket, 1);
            if (strlen($place) > self::SOCKET_MAX) {
                $this->persistentId = '';
                return null;
            }
        }
        self::$taken[$this->persistentId][$this->slot] = true;
        unset(self::$kept[$this->pid]["$this->persistentId-$this->slot"]);
        return $place;
    }

    /** Lets go of the stream: a persistent one is kept for the next request if it is in order. */
    public function release(): void
    {
        $this->leaveParent();
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

    /** Closes the connection, which drops what was not saved and lets go of the lock. */
    public function close(): void
    {
        $this->leaveParent();
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
        return ['server' => $this->dsn->redacted(), 'connected' => $this->stream !== null, 'sessionOpen' => $this->sessionOpen,
            'roundTrips' => $this->roundTrips];
    }
}
