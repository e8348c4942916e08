<?php

declare(strict_types=1);

namespace SessionServer;

use SessionServer\Exception\ConnectionException;
use SessionServer\Exception\LockLostException;
use SessionServer\Exception\LockTimeoutException;
use SessionServer\Exception\NoSessionException;
use SessionServer\Exception\NotFoundException;
use SessionServer\Exception\RateLimitedException;
use SessionServer\Exception\ServerException;
use SessionServer\Exception\ShutdownException;
use SessionServer\Exception\TimeoutException;

/**
 * Every command of a server, over one connection. A session is open on it at a time; its changes are saved by close() or
 * commit() and dropped by anything else that ends it.
 *
 *     $client = new SessionServer\Client('tcp://localhost');
 *     $id = $client->new();
 *     $client->put('foo', 'bar');
 *     $client->close();
 *
 * Every method may throw ConnectionException, the exception of the code that the server answers, and DsnException if the
 * certificate that the DSN names belongs to another tenant than the DSN does.
 */
final class Client
{
    private readonly Dsn $dsn;
    private readonly Connection $connection;
    private readonly bool $forPhp;
    private ?string $id = null; // of the session that was opened last

    /**
     * @param Dsn|string $dsn also file:///path of a file that holds it, as Dsn::load takes it
     * @param bool $forPhp (internal) PHP's own session goes over it
     * @param ?\Closure(string): list<string> $resolve returns the addresses of a host; null: as the system does
     * @throws Exception\DsnException
     */
    public function __construct(#[\SensitiveParameter] Dsn|string $dsn, bool $forPhp = false, ?\Closure $resolve = null)
    {
        $this->dsn = is_string($dsn) ? Dsn::load($dsn) : $dsn;
        $this->connection = new Connection($this->dsn, $forPhp, $resolve);
        $this->forPhp = $forPhp;
    }

    /**
     * Sends requests at once and answers their replies. An error is among the replies as a ServerException, not thrown: the
     * server carries out every request, also after one that it has refused.
     *
     * A connection that the server has closed while no session was open on it is replaced without a word. What is refused for
     * a rate is sent again when the server says, within the DSN's timeout, unless a request behind it was done.
     *
     * @param list<non-empty-list<string>> $requests
     * @return list<mixed> strings, integers, null, lists of these, or ServerException
     */
    public function pipeline(#[\SensitiveParameter] array $requests): array
    {
        $replies = [];
        $wait = new RateWait($this->dsn->timeout);
        $most = null; // requests at once
        while (($from = count($replies)) < count($requests)) {
            try {
                array_push($replies, ...$this->send(array_slice($requests, $from, $most)));
            } catch (RateLimitedException $e) { // it is the connection that comes too soon
                if ($from > 0 || !$wait->wait($e)) {
                    throw $e;
                }
                continue;
            }
            $refused = RateWait::of($replies, $from);
            if ($refused !== null && $wait->wait($replies[$refused])) {
                array_splice($replies, $refused);
                $most = 1; // each one more would be one more error, and the server has enough at some time
            }
        }
        return $replies;
    }

    /** Sends requests once. */
    private function send(#[\SensitiveParameter] array $requests): array
    {
        $this->connection->leaveParent();
        if (!$this->forPhp) {
            SaveHandler::letGoOfLeftovers();
        }
        $again = !$this->connection->sessionOpen && $this->connection->mayBeStale();
        $replies = $this->connection->exchange($requests);
        if ($replies[0] instanceof ShutdownException && $again) {
            // The server is leaving and another one may have taken its place. Nothing has been done yet.
            $this->connection->close();
            $replies = $this->connection->exchange($requests);
        }
        foreach ($requests as $i => $request) {
            $this->follow($request, $replies[$i]);
        }
        return $replies;
    }

    /** Keeps in mind whether a session is open on the other end. */
    private function follow(#[\SensitiveParameter] array $request, mixed $reply): void
    {
        $command = strtolower($request[0]);
        if ($reply instanceof LockLostException || $reply instanceof NoSessionException) {
            $this->connection->sessionOpen = false;
            return;
        }
        switch ($command) {
            case 'new':
            case 'open':
            case 'regenerate_id':
                if (!$reply instanceof ServerException) {
                    $this->connection->sessionOpen = true;
                    $this->id = $command === 'open' ? $request[1] : $reply;
                }
                break;
            case 'close':
            case 'abort':
            case 'destroy':
            case 'reset':
                if (!$reply instanceof ServerException || $reply instanceof NotFoundException) {
                    $this->connection->sessionOpen = false;
                }
                break;
            case 'quit':
                $this->connection->close();
        }
    }

    /** Sends one request and answers its reply; what the server refuses is thrown. */
    public function call(string $command, #[\SensitiveParameter] string ...$arguments): mixed
    {
        $reply = $this->pipeline([[$command, ...array_values($arguments)]])[0];
        return $reply instanceof ServerException ? throw $reply : $reply;
    }

    /** Whether a session is open. */
    public function isOpen(): bool
    {
        $this->connection->leaveParent();
        return $this->connection->sessionOpen;
    }

    /** How many round trips there have been. */
    public function roundTrips(): int
    {
        return $this->connection->roundTrips();
    }

    /** Closes the connection; what was not saved is dropped. The next command connects again. */
    public function disconnect(): void
    {
        $this->connection->close();
    }

    /**
     * Makes a session, opens it for writing and answers its id.
     *
     * @param ?int $lifetime seconds that it lives unused; null: as the DSN says, or else the tenant
     */
    public function new(?int $lifetime = null): string
    {
        $lifetime ??= $this->dsn->lifetime;
        return $lifetime === null ? $this->call('new') : $this->call('new', (string) $lifetime);
    }

    /**
     * Opens a session, and answers the mode in which it is open: s if its lock was not free in time and the DSN says
     * on_lock_timeout=readonly, otherwise the one asked for.
     *
     * @param string $mode u: exclusive; r: shared with other readers; s: what was saved last, without a lock; rw: exclusive,
     *     and, in a tenant that is not strict, made if there is none: not for an id from a cookie, which a visitor may have chosen
     * @param ?float $wait seconds to wait for the lock; null: as the DSN says, or else the tenant
     * @throws Exception\NotFoundException
     * @throws Exception\LockTimeoutException
     */
    public function open(#[\SensitiveParameter] string $id, string $mode = 'u', ?float $wait = null): string
    {
        try {
            $this->call(...self::openRequest($id, $mode, $wait ?? $this->dsn->lockTimeout));
        } catch (LockTimeoutException $e) {
            if ($this->dsn->onLockTimeout !== 'readonly') {
                throw $e;
            }
            try {
                $this->call(...self::openRequest($id, $mode = 's', 0));
            } catch (NotFoundException) {
                throw $e; // nothing is saved yet by the one who has the lock
            }
        }
        return $mode;
    }

    /** @internal @return non-empty-list<string> */
    public static function openRequest(#[\SensitiveParameter] string $id, string $mode, ?float $wait): array
    {
        return $wait === null ? ['open', $id, $mode] : ['open', $id, $mode, (string) (int) round($wait * 1000)];
    }

    /** Saves the session and lets go of it. */
    public function close(): void
    {
        $this->call('close');
    }

    /** Saves the session, lets go of the lock, and goes on reading. */
    public function commit(): void
    {
        $this->call('commit');
    }

    /** Lets go of the session without saving. */
    public function abort(): void
    {
        $this->call('abort');
    }

    /**
     * Removes the session; its id cannot be used again. If the connection breaks it is removed over another one: to do so
     * twice does no harm.
     */
    public function destroy(): void
    {
        $id = $this->isOpen() ? $this->id : null;
        try {
            $this->call('destroy');
        } catch (ConnectionException $e) {
            if ($id === null || $e instanceof TimeoutException) {
                throw $e; // behind a time-out the lock is not free either
            }
            foreach ($this->pipeline([self::openRequest($id, 'u', $this->dsn->lockTimeout), ['destroy']]) as $reply) {
                if ($reply instanceof NotFoundException) {
                    return; // it is gone
                }
                if ($reply instanceof ServerException) {
                    throw $reply;
                }
            }
        }
    }

    /** Moves the session to a new id and answers it. @param int $grace seconds for which the old one leads there */
    public function regenerateId(int $grace = 0): string
    {
        return $this->call('regenerate_id', (string) $grace);
    }

    /** Answers a value, or null if there is none. */
    public function get(string $key): ?string
    {
        return $this->call('get', $key);
    }

    /** @return list<?string> */
    public function getMany(string ...$keys): array
    {
        if ($keys === []) {
            return [];
        }
        $reply = $this->call('get', ...array_values($keys));
        return is_array($reply) ? $reply : [$reply];
    }

    public function put(string $key, #[\SensitiveParameter] string $value): void
    {
        $this->call('put', $key, $value);
    }

    /** Sets several values, or, if one of them is refused, none. @param array<string> $values */
    public function putMany(#[\SensitiveParameter] array $values): void
    {
        if ($values !== []) {
            $this->call('put', ...self::flat($values));
        }
    }

    /** Removes values and answers how many there were. */
    public function remove(string ...$keys): int
    {
        return $keys === [] ? 0 : $this->call('remove', ...array_values($keys));
    }

    public function exists(string $key): bool
    {
        return $this->call('exists', $key) === 1;
    }

    /** @return list<string> */
    public function keys(): array
    {
        return $this->call('keys');
    }

    /** @return array<string> values by key; PHP makes integers of keys that look like one */
    public function getAll(): array
    {
        return self::map($this->call('get_all'));
    }

    /** Replaces all values. @param array<string> $values */
    public function putAll(#[\SensitiveParameter] array $values): void
    {
        $this->call('put_all', ...self::flat($values));
    }

    /** Gives a value a lifetime of its own; 0 takes it away. */
    public function expire(string $key, int $seconds): void
    {
        $this->call('expire', $key, (string) $seconds);
    }

    /** Tells for how many seconds the session lives unused, after setting it if they are given. */
    public function lifetime(?int $seconds = null): int
    {
        if ($seconds !== null) {
            $this->call('lifetime', (string) $seconds);
            return $seconds;
        }
        return $this->call('lifetime');
    }

    /** @return array<string, int> created, last_used, expires (Unix seconds), version, keys, bytes */
    public function stat(): array
    {
        return self::map($this->call('stat'));
    }

    /** Authenticates as somebody else than the DSN says, until the connection ends. */
    public function auth(string $tenant, string $app, #[\SensitiveParameter] string $secret): void
    {
        $this->call('auth', "$tenant/$app", $secret);
    }

    public function ping(string $text = 'PONG'): string
    {
        return $this->call('ping', $text);
    }

    public function echo(string $text): string
    {
        return $this->call('echo', $text);
    }

    /** Lists the commands, or tells about one. */
    public function help(?string $command = null): string
    {
        return $command === null ? $this->call('help') : $this->call('help', $command);
    }

    /** Describes the server. */
    public function info(): string
    {
        return $this->call('info');
    }

    /** @return array<mixed> what the server is */
    public function hello(): array
    {
        return self::map($this->call('hello'));
    }

    /** Drops what was not saved and makes the connection as if it were new. */
    public function reset(): void
    {
        foreach ($this->pipeline([['reset'], $this->connection->hello()]) as $reply) {
            if ($reply instanceof ServerException) {
                throw $this->connection->explain($reply);
            }
        }
    }

    /** Drops what was not saved and ends the connection. */
    public function quit(): void
    {
        $this->call('quit');
    }

    /** @return list<string> keys and values in turn */
    private static function flat(#[\SensitiveParameter] array $values): array
    {
        $words = [];
        foreach ($values as $key => $value) {
            array_push($words, (string) $key, $value);
        }
        return $words;
    }

    /** @internal @param list<mixed> $words keys and values in turn */
    public static function map(#[\SensitiveParameter] array $words): array
    {
        $values = [];
        for ($i = 1; $i < count($words); $i += 2) {
            $values[$words[$i - 1]] = $words[$i];
        }
        return $values;
    }

    public function __debugInfo(): array
    {
        return ['connection' => $this->connection];
    }
}
