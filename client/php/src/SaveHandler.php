<?php

declare(strict_types=1);

namespace SessionServer;

use SessionServer\Exception\BadArgException;
use SessionServer\Exception\ConnectionException;
use SessionServer\Exception\LockLostException;
use SessionServer\Exception\LockTimeoutException;
use SessionServer\Exception\NotFoundException;
use SessionServer\Exception\RateLimitedException;
use SessionServer\Exception\ReadOnlyException;
use SessionServer\Exception\ServerException;
use SessionServer\Exception\SessionServerException;
use SessionServer\Exception\TimeoutException;
use SessionServer\Exception\TooLargeException;

/**
 * The save handler for $_SESSION on a sessionserver.
 *
 *     session.save_path = tcp://localhost                        (php.ini)
 *     SessionServer\SaveHandler::register();
 *
 * A request has two round trips: one opens, locks and reads the session, the other writes and closes it. PHP calls the
 * handler in smaller steps, so each step also does the work of the next ones: validateId reads, create_sid opens, write
 * closes.
 *
 * All errors are thrown out of session_start() or session_write_close(). After a result of false PHP would print
 * session.save_path with its secret, and the application would continue without its session. An exception from
 * validateId or create_sid would make PHP give the visitor another id, so these two defer it to read().
 *
 * If an application sets six functions of its own after this handler was registered, PHP still calls create_sid,
 * validateId and updateTimestamp here, without open(). They then do what PHP does in the absence of these methods.
 */
final class SaveHandler implements
    \SessionHandlerInterface,
    \SessionIdInterface,
    \SessionUpdateTimestampHandlerInterface
{
    private const MODE_R = 'the DSN has mode=r';
    private const FORKED = 'the parent process has the session open'
        . ' (call session_abort() and session_start() after pcntl_fork())';

    /**
     * PHP's defaults of sid_length and sid_bits_per_character: built in, in its php.ini files, and without settings.
     */
    private const DEFAULT_ID_SETTINGS = [['32', '4'], ['26', '5'], [false, false]];
    private const DEFAULT_GC_MAXLIFETIME = '1440';

    /** @var \WeakMap<self, true>|null handlers between PHP's calls of open() and close() */
    private static ?\WeakMap $handlers = null;

    /** The DSN whose secret register() has removed from session.save_path. */
    private static ?Dsn $redactedDsn = null;

    private ?Dsn $dsn;
    private ?Client $client = null;
    private ?Format $format = null;

    private bool $opened = false;        // PHP, or a handler around this one, has called open() and not yet close()
    private ?string $id = null;          // the id of the session that PHP has open
    private int $pid = 0;                // the process that opened the session
    private bool $unsaved = false;       // the session is new in this request and not stored yet
    private bool $created = false;       // the server created the session's id for this request
    private ?string $preloaded = null;   // the data that validateId has loaded for read()
    /** @var array<string> the stored values when the session was opened, from the server's reply */
    private array $loaded = [];
    private ?string $readOnlyReason = null; // why the session is open without a lock and changes are not saved
    private ?string $lostId = null;      // the id of a session that could not be read, or was lost afterwards
    private ?string $newId = null;       // the id from create_sid, until read() is called for it
    private bool $regenerating = false;  // within session_regenerate_id(true), which moves the session to a new id
    private ?SessionServerException $deferred = null; // the exception of validateId or create_sid, for read()

    /**
     * @param Dsn|string|null $dsn null: the value of session.save_path
     * @throws Exception\DsnException
     */
    public function __construct(#[\SensitiveParameter] Dsn|string|null $dsn = null)
    {
        $this->dsn = is_string($dsn) ? Dsn::load($dsn) : $dsn;
    }

    /**
     * Sets the save handler for all sessions from now on, and turns session.use_strict_mode on. Leave it on: without it
     * PHP accepts any id from a visitor. A strict tenant, the default, refuses to create a session under such an id,
     * and nothing is saved. Another tenant creates it with a warning, which allows session fixation.
     *
     * The secret in session.save_path is replaced by xxxxx where PHP allows it, so that neither ini_get() nor PHP's
     * messages contain it.
     *
     * @param Dsn|string|null $dsn null: the value of session.save_path
     * @throws Exception\DsnException
     */
    public static function register(#[\SensitiveParameter] Dsn|string|null $dsn = null): self
    {
        if ($dsn === null) {
            $path = (string) ini_get('session.save_path');
            $isRedacted = self::$redactedDsn !== null && $path === self::$redactedDsn->redacted();
            $dsn = $isRedacted ? self::$redactedDsn : Dsn::fromSavePath($path);
            if ($dsn->secret !== null && !str_starts_with($path, 'file:')) {
                self::$redactedDsn = $dsn;
                @ini_set('session.save_path', $dsn->redacted());
            }
        }
        $handler = new self($dsn);
        ini_set('session.use_strict_mode', '1');
        // An application may set six functions of its own later. With lazy_write PHP would then still call
        // updateTimestamp() here and not the application's write().
        ini_set('session.lazy_write', '0');
        if ($handler->dsn->format === 'json') {
            ini_set('session.serialize_handler', 'php_serialize'); // supports all keys, also those with |
        }
        if (!session_set_save_handler($handler, true)) {
            throw new \LogicException('sessionserver: PHP refused the save handler'
                . ' (call register() before session_start(), without session.auto_start, and before any output)');
        }
        register_shutdown_function(self::releaseAbandoned(...));
        return $handler;
    }

    /** Returns the number of round trips. */
    public function roundTrips(): int
    {
        return $this->client?->roundTrips() ?? 0;
    }

    public function open(#[\SensitiveParameter] string $path, string $name): bool
    {
        if ($this->opened && !$this->regenerating && !self::isCalledBy('session_reset')) {
            $this->release(); // PHP has not called close()
        }
        $this->opened = true;
        $this->lostId = null;
        if (session_status() === PHP_SESSION_ACTIVE) {
            self::$handlers ??= new \WeakMap();
            self::$handlers[$this] = true;
        }
        $this->initialize($path);
        $path = '';
        return true; // the client connects with the first request
    }

    private function initialize(#[\SensitiveParameter] string $path): void
    {
        $this->dsn ??= Dsn::fromSavePath($path);
        $path = '';
        $this->client ??= new Client($this->dsn, true);
        $this->format ??= $this->dsn->format === 'json' ? new JsonFormat() : new PhpFormat();
    }

    /** Creates an id. PHP calls it before read() for a missing or invalid id, and for session_create_id(). */
    public function create_sid(): string
    {
        if (!$this->opened) {
            return self::phpId();
        }
        $this->prepare();
        $this->deferred = null;
        try {
            if ($this->regenerating && $this->client->isOpen()) {
                $this->id = $this->newId = $this->regenerate();
            } elseif ($this->id !== null || $this->dsn->mode === 'r') {
                // session_create_id() during an open session. The command `new` would need another connection for an
                // id that may never be used, and 128 random bits are as good from here.
                $this->newId = bin2hex(random_bytes(16));
            } else {
                $this->id = $this->newId = $this->client->new($this->dsn->lifetime);
                $this->pid = getmypid();
                $this->unsaved = $this->created = true;
                $this->logIgnoredSettings();
                $this->setLoaded(null);
            }
        } catch (SessionServerException $e) {
            $this->release();
            $this->deferred = $e;
            $this->newId = bin2hex(random_bytes(16));
        }
        $this->regenerating = false;
        return $this->newId;
    }

    /** Returns a random id by PHP's settings, as PHP itself would create it. */
    private static function phpId(): string
    {
        $bits = (int) (ini_get('session.sid_bits_per_character') ?: 4);
        $digits = substr('0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-,', 0, 1 << $bits);
        $id = '';
        for ($n = (int) (ini_get('session.sid_length') ?: 32); $n > 0; $n--) {
            $id .= $digits[random_int(0, strlen($digits) - 1)];
        }
        return $id;
    }

    /** Logs the settings of PHP without effect on a new session, if they differ from PHP's defaults. */
    private function logIgnoredSettings(): void
    {
        [$length, $bits] = $id = [ini_get('session.sid_length'), ini_get('session.sid_bits_per_character')];
        if (!in_array($id, self::DEFAULT_ID_SETTINGS, true)) {
            error_log("sessionserver: session.sid_length = $length and session.sid_bits_per_character = $bits"
                . ' are ignored, since the server creates ids of 32 hexadecimal digits (remove both settings)');
        }
        $lifetime = ini_get('session.gc_maxlifetime');
        if ($this->dsn->lifetime === null && $lifetime !== self::DEFAULT_GC_MAXLIFETIME) {
            error_log("sessionserver: session.gc_maxlifetime = $lifetime is ignored, since the tenant's lifetime"
                . " applies (set lifetime=$lifetime in the DSN, or remove the setting)");
        }
    }

    /** Reports whether an id exists. PHP calls it before read() in strict mode, and for ids from create_sid. */
    public function validateId(#[\SensitiveParameter] string $id): bool
    {
        if (!$this->opened) {
            return !self::isCalledBy('session_create_id', 'session_regenerate_id'); // which require an unknown id
        }
        if ($id === $this->newId || !preg_match('/^[\x21-\x7e]{16,256}$/D', $id)) {
            return false;
        }
        if ($this->dsn->mode === 'r') {
            return true; // mode=r cannot create a session, and another id would replace the visitor's cookie
        }
        $this->deferred = null;
        try {
            $this->preloaded = $this->load($id, 'u');
        } catch (NotFoundException) {
            return false;
        } catch (SessionServerException $e) {
            $this->release();
            $this->deferred = $e;
        }
        return true;
    }

    public function read(#[\SensitiveParameter] string $id): string
    {
        $this->prepare();
        $this->lostId = $id;
        $data = $this->readData($id);
        $this->lostId = null;
        return $data;
    }

    private function readData(#[\SensitiveParameter] string $id): string
    {
        $isNew = $id === $this->newId;
        if ($isNew) {
            $this->newId = null;
        }
        if ($this->deferred !== null) {
            [$exception, $this->deferred] = [$this->deferred, null];
            throw $exception;
        }
        if ($id === $this->id && $isNew) {
            return ''; // the session is new, or was moved and PHP keeps its data
        }
        if ($id === $this->id && $this->preloaded !== null) {
            [$data, $this->preloaded] = [$this->preloaded, null];
            return $data;
        }
        return $this->openOrCreate($id);
    }

    public function write(#[\SensitiveParameter] string $id, #[\SensitiveParameter] string $data): bool
    {
        $this->prepare();
        try {
            if ($id !== $this->id || $this->readOnlyReason === null && !$this->client->isOpen()) {
                $this->openToWrite($id);
            }
            if ($this->readOnlyReason === self::FORKED && !self::isSavedByApplication()) {
                return true; // the changes may be the parent's, which saves them
            }
            if ($this->readOnlyReason !== null) {
                if ($this->format->save($data)) {
                    trigger_error("sessionserver: the session was not saved: $this->readOnlyReason", E_USER_WARNING);
                }
                return true; // after false PHP would print session.save_path
            }
            try {
                $this->save($data);
            } catch (ConnectionException | RateLimitedException $e) {
                if (!$this->client->isOpen()) {
                    $this->reopen($e, $data);
                }
                $this->save($data, true);
            }
        } catch (TooLargeException $e) {
            throw $e->advise('the session has ' . strlen($data) . ' bytes');
        } catch (ConnectionException | LockLostException $e) {
            $this->lostId = $id;
            throw $e;
        } finally {
            $this->release();
        }
        return true;
    }

    /**
     * Prolongs the session. PHP calls it in place of write() if nothing has changed since read(). A handler around this
     * one may have read another store; then the session must be written here.
     */
    public function updateTimestamp(#[\SensitiveParameter] string $id, #[\SensitiveParameter] string $data): bool
    {
        if ($this->opened && $id !== $this->id) {
            return $this->write($id, $data);
        }
        return $this->end($this->unsaved ? 'abort' : 'close');
    }

    /**
     * Closes the session. PHP calls it after write(), which has already closed it, and without write() after
     * session_abort() and read_and_close. The session is closed and not aborted, since every use prolongs its lifetime.
     * A new session that PHP did not write is aborted, so that it is not stored.
     */
    public function close(): bool
    {
        $this->opened = false;
        unset(self::$handlers[$this]);
        return $this->regenerating || $this->end($this->unsaved ? 'abort' : 'close');
    }

    public function destroy(#[\SensitiveParameter] string $id): bool
    {
        $this->prepare();
        if ($this->dsn->mode === 'r') {
            throw new ReadOnlyException('READONLY', self::MODE_R, 'destroy');
        }
        $isOpen = $id === $this->id && $this->client->isOpen();
        if ($id === $this->id && self::isCalledBy('session_regenerate_id')) {
            if (!$isOpen) {
                $reason = $this->readOnlyReason ?? 'the session is no longer open';
                throw new ReadOnlyException('READONLY', $reason, 'regenerate_id');
            }
            return $this->regenerating = true; // PHP calls create_sid next
        }
        try {
            $replies = $isOpen ? $this->client->pipeline([['destroy']]) : [];
        } catch (ConnectionException $e) {
            if ($e instanceof TimeoutException) {
                throw $e; // the server may still hold the lock
            }
            $isOpen = false; // a second destroy has no further effect
        }
        if (!$isOpen || $replies[0] instanceof LockLostException) { // a log-out must succeed also after a lost lock
            $requests = [...$this->endRequests(), $this->openRequest($id, 'u'), ['destroy']];
            $replies = array_slice($this->client->pipeline($requests), -2);
        }
        $this->release();
        foreach ($replies as $reply) {
            if ($reply instanceof NotFoundException) {
                break; // the session has already ended
            }
            if ($reply instanceof ServerException) {
                throw $reply;
            }
        }
        return true;
    }

    public function gc(int $max_lifetime): int
    {
        return 0; // the server removes expired sessions
    }

    /** Prepares a call without open(), as from frameworks with sessions of their own, and a call after a fork. */
    private function prepare(): void
    {
        if ($this->format === null) {
            $this->initialize((string) ini_get('session.save_path'));
        }
        if ($this->id !== null && $this->pid !== getmypid() && $this->readOnlyReason === null) {
            $this->setReadOnly($this->id, self::FORKED);
        }
    }

    /** Opens a session for writing, creates a missing one, and returns its data. */
    private function openOrCreate(#[\SensitiveParameter] string $id): string
    {
        try {
            $data = $this->load($id, 'rw');
        } catch (NotFoundException) {
            $advice = session_status() === PHP_SESSION_ACTIVE
                ? 'set session.use_strict_mode = 1 and register() the handler, so that the server creates ids'
                : 'for ids from a framework, use a tenant with session: {strict: false}';
            $this->setReadOnly($id, $this->dsn->mode === 'r' ? self::MODE_R
                : "the session has ended, or the tenant is strict and accepts only ids from the server ($advice)");
            return $this->format->load(null);
        } catch (SessionServerException $e) {
            $this->release();
            throw $e;
        }
        $isStrict = session_status() !== PHP_SESSION_ACTIVE || ini_get('session.use_strict_mode');
        if ($this->unsaved && !$isStrict && self::isFromVisitor($id)) {
            trigger_error('sessionserver: new session under an id from the visitor, who may share the id with others'
                . ' (set session.use_strict_mode = 1)', E_USER_WARNING);
        }
        return $data;
    }

    /** Reports whether the visitor has sent this id. */
    private static function isFromVisitor(#[\SensitiveParameter] string $id): bool
    {
        $name = session_name();
        return in_array($id, [$_COOKIE[$name] ?? null, $_GET[$name] ?? null, $_POST[$name] ?? null], true);
    }

    /** Opens a session and returns its data in one round trip. For an open session it returns the stored data. */
    private function load(#[\SensitiveParameter] string $id, string $mode): string
    {
        if ($id === $this->id && $this->client->isOpen()) { // session_reset()
            return $this->setLoaded($this->unsaved ? null : $this->client->call(...$this->format->request()));
        }
        if ($this->dsn->mode === 'r') {
            return $this->loadSnapshot($id, self::MODE_R);
        }
        $requests = [...$this->endRequests(), $this->openRequest($id, $mode), $this->format->request()];
        $replies = $this->client->pipeline($requests);
        [$opened, $reply] = array_slice($replies, -2);
        if ($this->regenerating) {
            // A handler around this one has no create_sid, so the session could not be moved. It is destroyed instead.
            $this->regenerating = false;
            if ($replies[0] instanceof ServerException && !$replies[0] instanceof NotFoundException) {
                throw $replies[0];
            }
        }
        $this->clear();
        if ($opened instanceof LockTimeoutException && $this->dsn->onLockTimeout === 'readonly') {
            try {
                $reason = 'another request has its lock, and the DSN has on_lock_timeout=readonly';
                return $this->loadSnapshot($id, $reason);
            } catch (NotFoundException) {
                throw $opened; // the holder of the lock has not saved the new session yet
            }
        }
        foreach ([$opened, $reply] as $r) {
            if ($r instanceof ServerException) {
                throw $r;
            }
        }
        $data = $this->setLoaded($reply);
        [$this->id, $this->pid] = [$id, getmypid()];
        // An empty session may exist on the server. To treat it as unsaved loses nothing.
        $this->unsaved = $mode === 'rw' && array_filter($reply, is_string(...)) === [];
        return $data;
    }

    /** Records the stored values, and returns the data for PHP. @param ?list<mixed> $reply null for a new session */
    private function setLoaded(#[\SensitiveParameter] ?array $reply): string
    {
        $this->loaded = array_filter($reply ?? [], is_string(...));
        return $this->format->load($reply);
    }

    /**
     * Moves the session to a new id. After a lost connection it does so again, since the old id opens the same
     * session.
     */
    private function regenerate(): string
    {
        try {
            return $this->regenerateOnce();
        } catch (ConnectionException $e) {
            $this->reopen($e, null);
            return $this->regenerateOnce();
        }
    }

    private function regenerateOnce(): string
    {
        try {
            return $this->client->regenerateId($this->dsn->grace);
        } catch (BadArgException) { // the grace period is beyond the server's grace_max
            return $this->client->regenerateId(0);
        }
    }

    /** Loads the values saved last, without a lock, and closes the session. */
    private function loadSnapshot(#[\SensitiveParameter] string $id, string $reason): string
    {
        $replies = $this->client->pipeline([['open', $id, 's', '0'], $this->format->request(), ['close']]);
        foreach (array_slice($replies, 0, 2) as $reply) {
            if ($reply instanceof ServerException) {
                throw $reply;
            }
        }
        $this->setReadOnly($id, $reason);
        return $this->format->load($replies[1]);
    }

    private function setReadOnly(#[\SensitiveParameter] string $id, string $reason): void
    {
        $this->clear();
        [$this->id, $this->pid] = [$id, getmypid()];
        $this->readOnlyReason = $reason;
    }

    /** @return non-empty-list<string> */
    private function openRequest(#[\SensitiveParameter] string $id, string $mode): array
    {
        return Client::openRequest($id, $mode, $this->dsn->lockTimeout);
    }

    /**
     * Opens a session for a write() without a read(). A handler around this one may have read another store or changed
     * the id. A session that could not be read, or was lost after that, is not overwritten: another request may have
     * changed it since.
     */
    private function openToWrite(#[\SensitiveParameter] string $id): void
    {
        if ($id === $this->id || $id === $this->lostId) {
            throw new ConnectionException('sessionserver: the session is no longer open, nothing was saved;'
                . ' start the session again');
        }
        $this->openOrCreate($id);
    }

    /**
     * Sends the changes and ends the session.
     *
     * @param bool $separate whether each change takes a round trip of its own: a rate limit may refuse a change but
     *     never the end of a session, which would then save a part of the changes
     */
    private function save(#[\SensitiveParameter] string $data, bool $separate = false): void
    {
        $changes = $this->format->save($data);
        if (!$changes) {
            $this->end($this->unsaved ? 'abort' : 'close'); // no change can be lost, so errors are ignored
            return;
        }
        if ($separate) {
            array_map(fn (array $change) => $this->execute([$change]), $changes);
            $changes = [];
        } elseif (count($changes) > 1) {
            // After a refused change a `close` in the same round trip would save the other changes only.
            $this->execute($changes);
            $changes = [];
        }
        if ($this->unsaved && $this->dsn->lifetime !== null) {
            $changes[] = ['lifetime', (string) $this->dsn->lifetime];
        }
        $this->execute([...$changes, ['close']]);
    }

    /**
     * Opens the session again after a lost connection, or after a close that succeeded behind a change beyond a rate
     * limit. The stored values must be those at the first opening, or the data to save, which the server may have saved
     * before the connection was lost. With other values another request has changed the session.
     *
     * @param ?string $data the data to save; null: none
     * @throws SessionServerException
     */
    private function reopen(SessionServerException $cause, #[\SensitiveParameter] ?string $data): void
    {
        if ($cause instanceof TimeoutException) {
            throw $cause; // a visitor should not wait for a second timeout
        }
        $replies = $this->client->pipeline([
            $this->openRequest($this->id, $this->unsaved ? 'rw' : 'u'),
            $this->format->request(),
        ]);
        foreach ($replies as $reply) {
            if ($reply instanceof NotFoundException) {
                throw $cause;
            }
            if ($reply instanceof ServerException) {
                throw $reply;
            }
        }
        $loaded = $this->loaded;
        $this->setLoaded($replies[1]);
        if ($loaded !== $this->loaded && ($data === null || $this->format->save($data) !== [])) {
            throw new LockLostException('LOCKLOST', 'another request changed the session after the connection was lost,'
                . ' nothing was saved; start the session again');
        }
    }

    /**
     * Releases the sessions that PHP has abandoned: it calls neither write() nor close() after a value that cannot be
     * serialized. The next call into this library releases them.
     *
     * @internal
     */
    public static function releaseAbandoned(): void
    {
        if (session_status() === PHP_SESSION_ACTIVE) {
            return;
        }
        foreach (self::$handlers ?? [] as $handler => $_) {
            $handler->opened = false;
            $handler->release();
        }
        self::$handlers = null;
    }

    /** Sends requests and throws the first error reply. @param non-empty-list<non-empty-list<string>> $requests */
    private function execute(#[\SensitiveParameter] array $requests): void
    {
        $replies = $this->client->pipeline($requests);
        foreach ($replies as $reply) {
            if ($reply instanceof ServerException) {
                $closed = !$this->client->isOpen() && !end($replies) instanceof ServerException;
                if ($this->created && $this->unsaved && $closed && !$reply instanceof RateLimitedException) {
                    $this->undoCreation();
                }
                throw $reply;
            }
        }
    }

    /**
     * Removes the new and empty session that `close` has stored after a refused change, unless another request has
     * used it meanwhile. This is only for ids from the server: a removed id is refused forever, and the visitor of
     * another id may not get a new one. The server removes empty sessions early anyway.
     */
    private function undoCreation(): void
    {
        try {
            [, $stat] = $this->client->pipeline([['open', $this->id, 'u', '0'], ['stat']]);
            if (is_array($stat) && Client::map($stat)['version'] === 1) {
                $this->client->pipeline([['destroy']]);
            }
        } catch (SessionServerException) { // the caller throws the error reply, which matters more
        }
    }

    /** Returns the requests that end the open session before another one. @return list<non-empty-list<string>> */
    private function endRequests(): array
    {
        if (!$this->client->isOpen()) {
            return [];
        }
        return [[$this->regenerating ? 'destroy' : 'abort']];
    }

    /** Ends the session and ignores errors. */
    private function end(string $command): bool
    {
        if ($this->client?->isOpen()) {
            try {
                $this->client->pipeline([[$command]]);
            } catch (SessionServerException) {
            }
        }
        $this->release();
        return true;
    }

    /** Aborts the session if it is still open, and clears the state of this handler. */
    private function release(): void
    {
        if ($this->client?->isOpen()) {
            try {
                $this->client->abort();
            } catch (SessionServerException) {
                $this->client->disconnect();
            }
        }
        $this->regenerating = false;
        $this->clear();
    }

    private function clear(): void
    {
        $this->id = $this->preloaded = $this->readOnlyReason = null;
        $this->loaded = [];
        $this->unsaved = $this->created = false;
    }

    /** Reports whether one of the given functions of PHP is on the stack, also with other handlers in between. */
    private static function isCalledBy(string ...$functions): bool
    {
        foreach (debug_backtrace(DEBUG_BACKTRACE_IGNORE_ARGS, 16) as $frame) {
            if (!isset($frame['class']) && in_array($frame['function'], $functions, true)) {
                return true;
            }
        }
        return false;
    }

    /** Reports whether the application saves the session, and not PHP at the end of the script. */
    private static function isSavedByApplication(): bool
    {
        foreach (debug_backtrace(DEBUG_BACKTRACE_IGNORE_ARGS) as $frame) {
            if (!isset($frame['class']) && str_starts_with($frame['function'], 'session_')) {
                return isset($frame['file']);
            }
        }
        return false;
    }

    public function __debugInfo(): array
    {
        return ['dsn' => $this->dsn?->redacted(), 'client' => $this->client];
    }
}
