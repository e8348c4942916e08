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
 * A client for every command of a server, over one connection. It has at most one open session. close() and commit()
 * save the session; any other end of it drops the changes.
 *
 *     $client = new SessionServer\Client('tcp://localhost');
 *     $id = $client->new();
 *     $client->put('foo', 'bar');
 *     $client->close();
 *
 * Every method may throw a ConnectionException, the exception for an error code of the server, and a DsnException if
 * the certificate in the DSN belongs to another tenant than the DSN.
 */
final class Client
{
    private readonly Dsn $dsn;
    private readonly Connection $connection;
    private readonly bool $forPhp;
    private ?string $id = null; // of the session opened last

    /**
     * @param Dsn|string $dsn a DSN, or the file:///path of a file with one, as for Dsn::load
     * @param bool $forPhp (internal) whether the client carries PHP's own session
     * @param ?\Closure(string): list<string> $resolve returns the addresses of a host; null: the system's resolver
     * @throws Exception\DsnException
     */
    public function __construct(#[\SensitiveParameter] Dsn|string $dsn, bool $forPhp = false, ?\Closure $resolve = null)
    {
        $this->dsn = is_string($dsn) ? Dsn::load($dsn) : $dsn;
        $this->connection = new Connection($this->dsn, $forPhp, $resolve);
        $this->forPhp = $forPhp;
    }

    /**
     * Sends requests in one round trip and returns their replies. An error reply is returned as a ServerException and
     * not thrown, since the server executes every request, also after a refused one.
     *
     * A connection that the server closed without an open session is replaced silently. A request beyond a rate limit
     * is sent again when the server allows it, within the DSN's timeout, unless a later request succeeded.
     *
     * @param list<non-empty-list<string>> $requests
     * @return list<mixed> strings, integers, null, lists of these, or ServerException
     */
    public function pipeline(#[\SensitiveParameter] array $requests): array
    {
        $replies = [];
        $wait = new RateWait($this->dsn->timeout);
        $batch = null; // number of requests in a round trip; null: all
        while (($from = count($replies)) < count($requests)) {
            try {
                array_push($replies, ...$this->send(array_slice($requests, $from, $batch)));
            } catch (RateLimitedException $e) { // the connection is beyond a rate limit
                if ($from > 0 || !$wait->wait($e)) {
                    throw $e;
                }
                continue;
            }
            $limited = RateWait::firstRateLimited($replies, $from);
            if ($limited !== null && $wait->wait($replies[$limited])) {
                array_splice($replies, $limited);
                $batch = 1; // the server closes a connection with too many errors
            }
        }
        return $replies;
    }

    /** Sends requests without waiting for a rate limit. */
    private function send(#[\SensitiveParameter] array $requests): array
    {
        $this->connection->detachFromParent();
        if (!$this->forPhp) {
            SaveHandler::releaseAbandoned();
        }
        $retriable = !$this->connection->sessionOpen && $this->connection->mayBeStale();
        $replies = $this->connection->exchange($requests);
        if ($replies[0] instanceof ShutdownException && $retriable) {
            // Another server may have replaced the one that shuts down. No request has been executed yet.
            $this->connection->close();
            $replies = $this->connection->exchange($requests);
        }
        foreach ($requests as $i => $request) {
            $this->trackSession($request, $replies[$i]);
        }
        return $replies;
    }

    /** Records whether a session is open on the server. */
    private function trackSession(#[\SensitiveParameter] array $request, mixed $reply): void
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

    /** Sends one request and returns its reply. An error reply is thrown. */
    public function call(string $command, #[\SensitiveParameter] string ...$arguments): mixed
    {
        $reply = $this->pipeline([[$command, ...array_values($arguments)]])[0];
        return $reply instanceof ServerException ? throw $reply : $reply;
    }

    /** Reports whether a session is open. */
    public function isOpen(): bool
    {
        $this->connection->detachFromParent();
        return $this->connection->sessionOpen;
    }

    /** Returns the number of round trips. */
    public function roundTrips(): int
    {
        return $this->connection->roundTrips();
    }

    /** Closes the connection and drops unsaved changes. The next command connects again. */
    public function disconnect(): void
    {
        $this->connection->close();
    }

    /**
     * Creates a session, opens it for writing and returns its id.
     *
     * @param ?int $lifetime idle seconds after which it expires; null: the DSN's lifetime, or else the tenant's
     */
    public function new(?int $lifetime = null): string
    {
        $lifetime ??= $this->dsn->lifetime;
        return $lifetime === null ? $this->call('new') : $this->call('new', (string) $lifetime);
    }

    /**
     * Opens a session, and returns the mode in which it is open: s for a session that stays locked if the DSN has
     * on_lock_timeout=readonly, otherwise the given mode.
     *
     * @param string $mode u: exclusive; r: shared with other readers; s: the values saved last, without a lock;
     *     rw: exclusive, and creates a missing session in a tenant that is not strict. Do not use rw for an id from a
     *     cookie, which the visitor may have chosen
     * @param ?float $wait seconds to wait for the lock; null: the DSN's lock_timeout, or else the tenant's
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
                throw $e; // the holder of the lock has not saved the new session yet
            }
        }
        return $mode;
    }

    /** @internal @return non-empty-list<string> */
    public static function openRequest(#[\SensitiveParameter] string $id, string $mode, ?float $wait): array
    {
        return $wait === null ? ['open', $id, $mode] : ['open', $id, $mode, (string) (int) round($wait * 1000)];
    }

    /** Saves and closes the session. */
    public function close(): void
    {
        $this->call('close');
    }

    /** Saves the session, releases the lock and leaves the session open for reading. */
    public function commit(): void
    {
        $this->call('commit');
    }

    /** Closes the session without saving. */
    public function abort(): void
    {
        $this->call('abort');
    }

    /**
     * Removes the session; its id cannot be used again. If the connection breaks, the session is removed over another
     * one; removing it twice has no further effect.
     */
    public function destroy(): void
    {
        $id = $this->isOpen() ? $this->id : null;
        try {
            $this->call('destroy');
        } catch (ConnectionException $e) {
            if ($id === null || $e instanceof TimeoutException) {
                throw $e; // after a timeout the server may still hold the lock
            }
            foreach ($this->pipeline([self::openRequest($id, 'u', $this->dsn->lockTimeout), ['destroy']]) as $reply) {
                if ($reply instanceof NotFoundException) {
                    return; // the first destroy succeeded
                }
                if ($reply instanceof ServerException) {
                    throw $reply;
                }
            }
        }
    }

    /** Moves the session to a new id and returns it. @param int $grace seconds for which the old id remains valid */
    public function regenerateId(int $grace = 0): string
    {
        return $this->call('regenerate_id', (string) $grace);
    }

    /** Returns a value, or null for a missing key. */
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

    /** Sets several values atomically. @param array<string> $values */
    public function putMany(#[\SensitiveParameter] array $values): void
    {
        if ($values !== []) {
            $this->call('put', ...self::flat($values));
        }
    }

    /** Removes values and returns the number of those that existed. */
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

    /** @return array<string> values by key; PHP converts keys that look like integers */
    public function getAll(): array
    {
        return self::map($this->call('get_all'));
    }

    /** Replaces all values. @param array<string> $values */
    public function putAll(#[\SensitiveParameter] array $values): void
    {
        $this->call('put_all', ...self::flat($values));
    }

    /** Sets the lifetime of a value; 0 removes it. */
    public function expire(string $key, int $seconds): void
    {
        $this->call('expire', $key, (string) $seconds);
    }

    /** Returns the idle seconds after which the session expires, and sets them before if they are given. */
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

    /** Authenticates with other credentials than the DSN's, until the connection ends. */
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

    /** Returns a list of the commands, or the description of one. */
    public function help(?string $command = null): string
    {
        return $command === null ? $this->call('help') : $this->call('help', $command);
    }

    /** Returns facts about the server as text. */
    public function info(): string
    {
        return $this->call('info');
    }

    /** @return array<mixed> facts about the server and the connection */
    public function hello(): array
    {
        return self::map($this->call('hello'));
    }

    /** Drops unsaved changes and resets the connection to its initial state. */
    public function reset(): void
    {
        foreach ($this->pipeline([['reset'], $this->connection->helloRequest()]) as $reply) {
            if ($reply instanceof ServerException) {
                throw $this->connection->withAdvice($reply);
            }
        }
    }

    /** Drops unsaved changes and ends the connection. */
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
