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
 * $_SESSION on a session server.
 *
 *     session.save_path = tcp://localhost                        (php.ini)
 *     SessionServer\SaveHandler::register();
 *
 * A request has two round trips: one opens, locks and reads the session, one writes and closes it. PHP asks in smaller
 * steps, so that each step does what the next ones will want: validateId reads, create_sid opens, write closes.
 *
 * Whatever goes wrong is thrown, out of session_start() or session_write_close(): handlers that answer false make PHP
 * print session.save_path, secret and all, and make an application go on without its session. An exception must not
 * leave validateId or create_sid, though, for PHP then gives the visitor another id. They keep it for read().
 *
 * An application that sets six functions of its own, where this handler was registered before, leaves create_sid, validateId
 * and updateTimestamp with it: PHP calls these three without open() then. They do what PHP does where they are missing.
 */
final class SaveHandler implements \SessionHandlerInterface, \SessionIdInterface, \SessionUpdateTimestampHandlerInterface
{
    private const MODE_R = 'the DSN says mode=r';
    private const FORKED = 'the process that this one is a fork of has it open (call session_abort() and session_start() after pcntl_fork())';

    /** What PHP has by itself, and what its php.ini-production and php.ini-development say: sid_length, sid_bits_per_character. */
    private const USUAL_IDS = [['32', '4'], ['26', '5'], [false, false]];
    private const USUAL_LIFETIME = '1440';

    /** @var \WeakMap<self, true>|null those of which PHP has called open() and not yet close() */
    private static ?\WeakMap $handlers = null;

    /** What register() has hidden behind session.save_path. */
    private static ?Dsn $hidden = null;

    private ?Dsn $dsn;
    private ?Client $client = null;
    private ?Format $format = null;

    private bool $opened = false;      // PHP, or a handler around this one, has called open() and not yet close()
    private ?string $id = null;        // of the session that PHP has open
    private int $pid = 0;              // of the process that has opened it
    private bool $unsaved = false;     // it is made by this request and is not stored yet
    private bool $own = false;         // the server has made its id for this request
    private ?string $data = null;      // what validateId has read, for read()
    /** @var array<string> what was stored when it was opened, as the server's reply has it */
    private array $loaded = [];
    private ?string $unlocked = null;  // why it is open without a lock, and changes to it are not saved
    private ?string $lost = null;      // the id of one that could not be read, or was lost after that
    private ?string $minted = null;    // an id from create_sid that read() has not seen yet
    private bool $regenerating = false; // session_regenerate_id(true) is under way: the session is to be moved, not destroyed
    private ?SessionServerException $failure = null; // of validateId or create_sid, for read()

    /**
     * @param Dsn|string|null $dsn null: what session.save_path says
     * @throws Exception\DsnException
     */
    public function __construct(#[\SensitiveParameter] Dsn|string|null $dsn = null)
    {
        $this->dsn = is_string($dsn) ? Dsn::load($dsn) : $dsn;
    }

    /**
     * Makes this the save handler of all sessions from now on, and turns session.use_strict_mode on. Leave it on: without it
     * PHP takes whatever id a visitor sends. A strict tenant, as new ones are, refuses to begin a session under that, so that
     * nothing is saved; in another tenant it begins with a warning, and a visitor can fix the session of somebody else.
     *
     * A secret in session.save_path is replaced there by xxxxx, where PHP lets it be replaced, so that it shows neither in
     * ini_get() nor in PHP's messages.
     *
     * @param Dsn|string|null $dsn null: what session.save_path says
     * @throws Exception\DsnException
     */
    public static function register(#[\SensitiveParameter] Dsn|string|null $dsn = null): self
    {
        if ($dsn === null) {
            $path = (string) ini_get('session.save_path');
            $dsn = self::$hidden !== null && $path === self::$hidden->redacted() ? self::$hidden : Dsn::ofSavePath($path);
            if ($dsn->secret !== null && !str_starts_with($path, 'file:')) {
                self::$hidden = $dsn;
                @ini_set('session.save_path', $dsn->redacted());
            }
        }
        $handler = new self($dsn);
        ini_set('session.use_strict_mode', '1');
        // An application may set six functions of its own later. PHP would go on to call updateTimestamp() here, and not its write().
        ini_set('session.lazy_write', '0');
        if ($handler->dsn->format === 'json') {
            ini_set('session.serialize_handler', 'php_serialize'); // has all keys; the other one not those with | in them
        }
        if (!session_set_save_handler($handler, true)) {
            throw new \LogicException('sessionserver: PHP takes no save handler now: register() must come before session_start() '
                . '(is session.auto_start on?) and before any output');
        }
        register_shutdown_function(self::letGoOfLeftovers(...));
        return $handler;
    }

    /** How many round trips there have been. */
    public function roundTrips(): int
    {
        return $this->client?->roundTrips() ?? 0;
    }

    public function open(#[\SensitiveParameter] string $path, string $name): bool
    {
        if ($this->opened && !$this->regenerating && !self::isCalledBy('session_reset')) {
            $this->letGo(); // PHP has not called close()
        }
        $this->opened = true;
        $this->lost = null;
        if (session_status() === PHP_SESSION_ACTIVE) {
            self::$handlers ??= new \WeakMap();
            self::$handlers[$this] = true;
        }
        $this->begin($path);
        $path = '';
        return true; // it connects when it knows what to ask for
    }

    private function begin(#[\SensitiveParameter] string $path): void
    {
        $this->dsn ??= Dsn::ofSavePath($path);
        $path = '';
        $this->client ??= new Client($this->dsn, true);
        $this->format ??= $this->dsn->format === 'json' ? new JsonFormat() : new PhpFormat();
    }

    /** Called instead of read() for no id or one that is not valid, and by session_create_id(). */
    public function create_sid(): string
    {
        if (!$this->opened) {
            return self::idOfSettings();
        }
        $this->start();
        $this->failure = null;
        try {
            if ($this->regenerating && $this->client->isOpen()) {
                $this->id = $this->minted = $this->move();
            } elseif ($this->id !== null || $this->dsn->mode === 'r') {
                // session_create_id() while a session is open: `new` would need a connection of its own for an id that may
                // never be used, and 128 random bits are as good from here.
                $this->minted = bin2hex(random_bytes(16));
            } else {
                $this->id = $this->minted = $this->client->new($this->dsn->lifetime);
                $this->pid = getmypid();
                $this->unsaved = $this->own = true;
                $this->logIgnoredSettings();
                $this->receive(null);
            }
        } catch (SessionServerException $e) {
            $this->letGo();
            $this->failure = $e;
            $this->minted = bin2hex(random_bytes(16));
        }
        $this->regenerating = false;
        return $this->minted;
    }

    /** An id as PHP itself would make it. */
    private static function idOfSettings(): string
    {
        $digits = substr('0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-,', 0, 1 << (int) (ini_get('session.sid_bits_per_character') ?: 4));
        $id = '';
        for ($n = (int) (ini_get('session.sid_length') ?: 32); $n > 0; $n--) {
            $id .= $digits[random_int(0, strlen($digits) - 1)];
        }
        return $id;
    }

    /** Logs which settings of PHP have no effect on a new session, if they are not what PHP comes with. */
    private function logIgnoredSettings(): void
    {
        $id = [ini_get('session.sid_length'), ini_get('session.sid_bits_per_character')];
        if (!in_array($id, self::USUAL_IDS, true)) {
            error_log("sessionserver: session.sid_length = $id[0] and session.sid_bits_per_character = $id[1] are ignored: the server makes the ids,"
                . ' of 32 hexadecimal digits, which are 128 random bits (remove both settings)');
        }
        $lifetime = ini_get('session.gc_maxlifetime');
        if ($this->dsn->lifetime === null && $lifetime !== self::USUAL_LIFETIME) {
            error_log("sessionserver: session.gc_maxlifetime = $lifetime is ignored: sessions live as long as their tenant says"
                . " (write lifetime=$lifetime into the DSN, or remove the setting)");
        }
    }

    /** Called in strict mode before read(), and on ids from create_sid, which must be unknown. */
    public function validateId(#[\SensitiveParameter] string $id): bool
    {
        if (!$this->opened) {
            return !self::isCalledBy('session_create_id', 'session_regenerate_id'); // which want an id that is not known yet
        }
        if ($id === $this->minted || !preg_match('/^[\x21-\x7e]{16,256}$/D', $id)) {
            return false;
        }
        if ($this->dsn->mode === 'r') {
            return true; // what is not there cannot be made either, and another id would take the visitor's cookie away
        }
        $this->failure = null;
        try {
            $this->data = $this->load($id, 'u');
        } catch (NotFoundException) {
            return false;
        } catch (SessionServerException $e) {
            $this->letGo();
            $this->failure = $e;
        }
        return true;
    }

    public function read(#[\SensitiveParameter] string $id): string
    {
        $this->start();
        $this->lost = $id;
        $data = $this->data($id);
        $this->lost = null;
        return $data;
    }

    private function data(#[\SensitiveParameter] string $id): string
    {
        $minted = $id === $this->minted;
        if ($minted) {
            $this->minted = null;
        }
        if ($this->failure !== null) {
            [$failure, $this->failure] = [$this->failure, null];
            throw $failure;
        }
        if ($id === $this->id && $minted) {
            return ''; // new; or moved, and PHP keeps what it has
        }
        if ($id === $this->id && $this->data !== null) {
            [$data, $this->data] = [$this->data, null];
            return $data;
        }
        return $this->take($id);
    }

    public function write(#[\SensitiveParameter] string $id, #[\SensitiveParameter] string $data): bool
    {
        $this->start();
        try {
            if ($id !== $this->id || $this->unlocked === null && !$this->client->isOpen()) {
                $this->openToWrite($id);
            }
            if ($this->unlocked === self::FORKED && !self::isAsked()) {
                return true; // what has changed may be the parent's, which saves it
            }
            if ($this->unlocked !== null) {
                if ($this->format->save($data)) {
                    trigger_error("sessionserver: the changed session is not saved: $this->unlocked", E_USER_WARNING);
                }
                return true; // false would make PHP print session.save_path
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
            throw $e->advise(strlen($data) . ' bytes were to be saved');
        } catch (ConnectionException | LockLostException $e) {
            $this->lost = $id;
            throw $e;
        } finally {
            $this->letGo();
        }
        return true;
    }

    /**
     * Called instead of write() if nothing has changed since read(). A handler around this one may have read elsewhere: then
     * this is all that there is to write.
     */
    public function updateTimestamp(#[\SensitiveParameter] string $id, #[\SensitiveParameter] string $data): bool
    {
        if ($this->opened && $id !== $this->id) {
            return $this->write($id, $data);
        }
        return $this->leave($this->unsaved ? 'abort' : 'close');
    }

    /**
     * Called after write(), which has closed the session; without it after session_abort() and by read_and_close. Using a
     * session prolongs its life, so that it is closed rather than aborted, unless that would store one that PHP has not.
     */
    public function close(): bool
    {
        $this->opened = false;
        unset(self::$handlers[$this]);
        return $this->regenerating || $this->leave($this->unsaved ? 'abort' : 'close');
    }

    public function destroy(#[\SensitiveParameter] string $id): bool
    {
        $this->start();
        if ($this->dsn->mode === 'r') {
            throw new ReadOnlyException('READONLY', self::MODE_R, 'destroy');
        }
        $mine = $id === $this->id && $this->client->isOpen();
        if ($id === $this->id && self::isCalledBy('session_regenerate_id')) {
            if (!$mine) {
                throw new ReadOnlyException('READONLY', $this->unlocked ?? 'the session is not open any more', 'regenerate_id');
            }
            return $this->regenerating = true; // create_sid comes next
        }
        try {
            $replies = $mine ? $this->client->pipeline([['destroy']]) : [];
        } catch (ConnectionException $e) {
            if ($e instanceof TimeoutException) {
                throw $e; // the lock is not free either
            }
            $mine = false; // to destroy it twice does no harm
        }
        if (!$mine || $replies[0] instanceof LockLostException) { // whoever logs out wants to be out
            $replies = array_slice($this->client->pipeline([...$this->farewell(), $this->openRequest($id, 'u'), ['destroy']]), -2);
        }
        $this->letGo();
        foreach ($replies as $reply) {
            if ($reply instanceof NotFoundException) {
                break; // gone it is
            }
            if ($reply instanceof ServerException) {
                throw $reply;
            }
        }
        return true;
    }

    public function gc(int $max_lifetime): int
    {
        return 0; // the server does it
    }

    /** Frameworks with sessions of their own call neither open() nor close(). */
    private function start(): void
    {
        if ($this->format === null) {
            $this->begin((string) ini_get('session.save_path'));
        }
        if ($this->id !== null && $this->pid !== getmypid() && $this->unlocked === null) {
            $this->unlock($this->id, self::FORKED);
        }
    }

    /** Opens a session for writing, makes it if there is none, and answers its data. */
    private function take(#[\SensitiveParameter] string $id): string
    {
        try {
            $data = $this->load($id, 'rw');
        } catch (NotFoundException) {
            $this->unlock($id, $this->dsn->mode === 'r' ? self::MODE_R : 'it has ended, or the tenant takes no ids but its own ('
                . (session_status() === PHP_SESSION_ACTIVE ? 'set session.use_strict_mode = 1 and register() the handler, so that the server makes ids'
                    : 'who makes ids without PHP needs a tenant with session: {strict: false}') . ')');
            return $this->format->load(null);
        } catch (SessionServerException $e) {
            $this->letGo();
            throw $e;
        }
        if ($this->unsaved && session_status() === PHP_SESSION_ACTIVE && !ini_get('session.use_strict_mode') && self::isSent($id)) {
            trigger_error('sessionserver: a session begins under an id that the visitor has sent, and may share with somebody else:'
                . ' set session.use_strict_mode = 1', E_USER_WARNING);
        }
        return $data;
    }

    /** Whether the visitor has sent this id. */
    private static function isSent(#[\SensitiveParameter] string $id): bool
    {
        $name = session_name();
        return in_array($id, [$_COOKIE[$name] ?? null, $_GET[$name] ?? null, $_POST[$name] ?? null], true);
    }

    /** Opens a session and answers its data, in one round trip; if it is open already, what was stored of it. */
    private function load(#[\SensitiveParameter] string $id, string $mode): string
    {
        if ($id === $this->id && $this->client->isOpen()) { // session_reset()
            return $this->receive($this->unsaved ? null : $this->client->call(...$this->format->request()));
        }
        if ($this->dsn->mode === 'r') {
            return $this->snapshot($id, self::MODE_R);
        }
        $requests = [...$this->farewell(), $this->openRequest($id, $mode), $this->format->request()];
        $replies = $this->client->pipeline($requests);
        [$opened, $reply] = array_slice($replies, -2);
        if ($this->regenerating) {
            // Ids are not made by create_sid here, because there is a handler around this one that has none: the session could
            // not be moved and was destroyed now.
            $this->regenerating = false;
            if ($replies[0] instanceof ServerException && !$replies[0] instanceof NotFoundException) {
                throw $replies[0];
            }
        }
        $this->forget();
        if ($opened instanceof LockTimeoutException && $this->dsn->onLockTimeout === 'readonly') {
            try {
                return $this->snapshot($id, 'somebody else had its lock for too long, and the DSN says on_lock_timeout=readonly');
            } catch (NotFoundException) {
                throw $opened; // nothing is saved yet by the one who has the lock
            }
        }
        foreach ([$opened, $reply] as $r) {
            if ($r instanceof ServerException) {
                throw $r;
            }
        }
        $data = $this->receive($reply);
        [$this->id, $this->pid] = [$id, getmypid()];
        $this->unsaved = $mode === 'rw' && array_filter($reply, is_string(...)) === []; // maybe: if not, nothing is lost
        return $data;
    }

    /** Takes what is stored, and returns what PHP is to have. @param ?list<mixed> $reply null for a new session */
    private function receive(#[\SensitiveParameter] ?array $reply): string
    {
        $this->loaded = array_filter($reply ?? [], is_string(...));
        return $this->format->load($reply);
    }

    /** Moves the session to a new id. A second time is as good: the id of before leads to what the first time has made of it. */
    private function move(): string
    {
        try {
            return $this->moveOnce();
        } catch (ConnectionException $e) {
            $this->reopen($e, null);
            return $this->moveOnce();
        }
    }

    private function moveOnce(): string
    {
        try {
            return $this->client->regenerateId($this->dsn->grace);
        } catch (BadArgException) { // the server is set to take no grace as long as that
            return $this->client->regenerateId(0);
        }
    }

    /** Reads what was saved last and keeps nothing open. */
    private function snapshot(#[\SensitiveParameter] string $id, string $why): string
    {
        $replies = $this->client->pipeline([['open', $id, 's', '0'], $this->format->request(), ['close']]);
        foreach (array_slice($replies, 0, 2) as $reply) {
            if ($reply instanceof ServerException) {
                throw $reply;
            }
        }
        $this->unlock($id, $why);
        return $this->format->load($replies[1]);
    }

    private function unlock(#[\SensitiveParameter] string $id, string $why): void
    {
        $this->forget();
        [$this->id, $this->pid] = [$id, getmypid()];
        $this->unlocked = $why;
    }

    /** @return non-empty-list<string> */
    private function openRequest(#[\SensitiveParameter] string $id, string $mode): array
    {
        return Client::openRequest($id, $mode, $this->dsn->lockTimeout);
    }

    /**
     * Opens a session that write() is called for without read(). Handlers around this one do so: where they read elsewhere, or
     * have changed the id. A session that was lost after it was read, or could not be read, is not overwritten: others may
     * have changed it since.
     */
    private function openToWrite(#[\SensitiveParameter] string $id): void
    {
        if ($id === $this->id || $id === $this->lost) {
            throw new ConnectionException('sessionserver: the session is not open any more; nothing was saved');
        }
        $this->take($id);
    }

    /**
     * Sends what has changed, and ends the session.
     *
     * @param bool $apart each in a round trip of its own: the end of a session is never refused for a rate, a change may be
     */
    private function save(#[\SensitiveParameter] string $data, bool $apart = false): void
    {
        $changes = $this->format->save($data);
        if (!$changes) {
            $this->leave($this->unsaved ? 'abort' : 'close'); // nothing to lose, so nothing to complain about
            return;
        }
        if ($apart) {
            array_map(fn (array $change) => $this->demand([$change]), $changes);
            $changes = [];
        } elseif (count($changes) > 1) {
            // `close` behind two changes of which one is refused would save half of them.
            $this->demand($changes);
            $changes = [];
        }
        if ($this->unsaved && $this->dsn->lifetime !== null) {
            $changes[] = ['lifetime', (string) $this->dsn->lifetime];
        }
        $this->demand([...$changes, ['close']]);
    }

    /**
     * Opens the session again after the connection broke, for the lock is lost with it, or after the end of a session that was
     * not refused for a rate as the change before it. The session must be as it was opened,
     * or as it is to be saved, since the server may have saved it before. Otherwise somebody else has changed it.
     *
     * @param ?string $data that is to be saved; null: none
     * @throws SessionServerException
     */
    private function reopen(SessionServerException $lost, #[\SensitiveParameter] ?string $data): void
    {
        if ($lost instanceof TimeoutException) {
            throw $lost; // another wait like that one is too much for a visitor
        }
        $replies = $this->client->pipeline([$this->openRequest($this->id, $this->unsaved ? 'rw' : 'u'), $this->format->request()]);
        foreach ($replies as $reply) {
            if ($reply instanceof NotFoundException) {
                throw $lost;
            }
            if ($reply instanceof ServerException) {
                throw $reply;
            }
        }
        $loaded = $this->loaded;
        $this->receive($replies[1]);
        if ($loaded !== $this->loaded && ($data === null || $this->format->save($data) !== [])) {
            throw new LockLostException('LOCKLOST', 'another request has changed the session since it was lost; nothing is saved');
        }
    }

    /**
     * Lets go of sessions that PHP has done with. It calls neither write() nor close() if a value cannot be serialized: this is
     * called wherever this library gets to run next.
     *
     * @internal
     */
    public static function letGoOfLeftovers(): void
    {
        if (session_status() === PHP_SESSION_ACTIVE) {
            return;
        }
        foreach (self::$handlers ?? [] as $handler => $_) {
            $handler->opened = false;
            $handler->letGo();
        }
        self::$handlers = null;
    }

    /** Sends requests that must all succeed. @param non-empty-list<non-empty-list<string>> $requests */
    private function demand(#[\SensitiveParameter] array $requests): void
    {
        $replies = $this->client->pipeline($requests);
        foreach ($replies as $reply) {
            if ($reply instanceof ServerException) {
                if ($this->own && $this->unsaved && !$this->client->isOpen() && !end($replies) instanceof ServerException
                    && !$reply instanceof RateLimitedException) {
                    $this->takeBack();
                }
                throw $reply;
            }
        }
    }

    /**
     * Removes the new session that `close` has stored, empty, behind what was refused; not if somebody else has got hold of
     * it meanwhile. An id that did not come from the server is left alone: it would be burnt, and its visitor may have no way
     * to another one. The server lets go of empty sessions soon.
     */
    private function takeBack(): void
    {
        try {
            [, $stat] = $this->client->pipeline([['open', $this->id, 'u', '0'], ['stat']]);
            if (is_array($stat) && Client::map($stat)['version'] === 1) {
                $this->client->pipeline([['destroy']]);
            }
        } catch (SessionServerException) { // what was refused is of more interest
        }
    }

    /** What to send before another session can be opened. @return list<non-empty-list<string>> */
    private function farewell(): array
    {
        if (!$this->client->isOpen()) {
            return [];
        }
        return [[$this->regenerating ? 'destroy' : 'abort']];
    }

    /** Ends the session without a word about what may go wrong. */
    private function leave(string $command): bool
    {
        if ($this->client?->isOpen()) {
            try {
                $this->client->pipeline([[$command]]);
            } catch (SessionServerException) {
            }
        }
        $this->letGo();
        return true;
    }

    /** Makes sure that nothing is open, and forgets the session. */
    private function letGo(): void
    {
        if ($this->client?->isOpen()) {
            try {
                $this->client->abort();
            } catch (SessionServerException) {
                $this->client->disconnect();
            }
        }
        $this->regenerating = false;
        $this->forget();
    }

    private function forget(): void
    {
        $this->id = $this->data = $this->unlocked = null;
        $this->loaded = [];
        $this->unsaved = $this->own = false;
    }

    /** Whether one of these functions of PHP is at work, through however many handlers around this one. */
    private static function isCalledBy(string ...$functions): bool
    {
        foreach (debug_backtrace(DEBUG_BACKTRACE_IGNORE_ARGS, 16) as $frame) {
            if (!isset($frame['class']) && in_array($frame['function'], $functions, true)) {
                return true;
            }
        }
        return false;
    }

    /** Whether the application asks for the session to be saved, and not PHP at the end of the script. */
    private static function isAsked(): bool
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
