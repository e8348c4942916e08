<?php

declare(strict_types=1);

namespace SessionServer;

use SessionServer\Exception\DsnException;

/**
 * Where a server is and who asks.
 *
 *     tls://app:secret@host:9090/tenant?lock_timeout=10
 *     tcp://localhost                                         no credentials: the server decides who that is
 *     tls://host/tenant?certfile=app.pem&keyfile=app.key      a certificate is the credential
 *     unix://app:secret@/run/sessionserver.sock?tenant=acme   the path is the socket's, so a parameter names the tenant
 *     localhost:9090                                          the same as tcp://localhost:9090
 *
 * What does not stand for itself in a part of a DSN is percent-encoded.
 */
final class Dsn
{
    public const DEFAULT_PORT = 9090;

    /** @internal made by parse; the defaults are those of a DSN that does not say */
    public function __construct(
        public readonly string $scheme,
        public readonly string $host,          // a name or an address, without brackets; '' for unix
        public readonly int $port,             // 0 for unix
        public readonly string $socket,        // '' unless unix
        public readonly string $tenant,
        public readonly string $app,           // '' without credentials
        public readonly ?Secret $secret,
        public readonly float $timeout = 10.0, // seconds for a connection, or an answer beyond the wait for a lock
        public readonly ?float $lockTimeout = null, // seconds to wait for a lock; null: as the tenant says
        public readonly string $onLockTimeout = 'fail',
        public readonly string $mode = 'rw',
        public readonly ?int $lifetime = null, // seconds; null: as the tenant says
        public readonly string $format = 'php',
        public readonly bool $persistent = false,
        public readonly int $grace = 10,       // seconds that an id leads on after session_regenerate_id(true)
        public readonly string $cafile = '',
        public readonly string $certfile = '',
        public readonly string $keyfile = '',
    ) {
    }

    /**
     * Reads a DSN.
     *
     * @throws DsnException that tells everything that is wrong
     */
    public static function parse(#[\SensitiveParameter] string $text): self
    {
        $parser = new DsnParser();
        $dsn = $parser->parse($text);
        $text = ''; // so that PHP 8.1, which has no SensitiveParameter, does not show it in the trace
        return $dsn ?? throw new DsnException($parser->problems());
    }

    /**
     * Reads a DSN, or file:///path of a file that has it as its only line: what session.save_path may be. A file
     * keeps the secret out of php.ini and phpinfo().
     *
     * @throws DsnException
     */
    public static function load(#[\SensitiveParameter] string $savePath): self
    {
        if (!str_starts_with($savePath, 'file:///')) {
            $text = $savePath;
            $savePath = '';
            return self::parse($text);
        }
        $file = substr($savePath, 7);
        $text = self::content($file);
        $parser = new DsnParser();
        $dsn = $parser->parse($text);
        $text = '';
        return $dsn ?? throw new DsnException($parser->problems(), $file);
    }

    /** Reads a file that holds a DSN as its only line. */
    private static function content(string $file): string
    {
        $why = [];
        $directory = false;
        set_error_handler(static function (int $level, string $message) use (&$why): bool {
            $why[] = $message;
            return true;
        });
        try {
            $directory = is_dir($file);
            $content = $directory ? '' : file_get_contents($file);
        } catch (\ValueError) { // NUL in the name
            $content = false;
        } finally {
            restore_error_handler();
        }
        $only = 'the file must hold the DSN as its only line';
        if ($directory) {
            throw new DsnException(["a directory: $only"], $file);
        }
        if ($content === false) {
            $why = implode('; ', $why);
            $why = str_contains($why, 'open_basedir') ? 'open_basedir does not allow it'
                : preg_replace('/^.*: /s', '', $why); // what the system says stands last
            throw new DsnException(['the file cannot be read: ' . ($why ?: 'no such name')], $file);
        }
        $text = trim($content);
        if ($text === '') {
            throw new DsnException(["the file is empty: $only"], $file);
        }
        if (strpbrk($text, "\r\n") !== false) {
            throw new DsnException(["more than one line: $only"], $file);
        }
        return $text;
    }

    /**
     * Reads what session.save_path says.
     *
     * @internal
     * @throws DsnException
     */
    public static function ofSavePath(#[\SensitiveParameter] string $savePath): self
    {
        if ($savePath === '') {
            throw new DsnException(['session.save_path is empty: set it to a DSN such as tls://app:secret@host/tenant']);
        }
        return self::load($savePath);
    }

    /** The address as messages show it. */
    public function address(): string
    {
        if ($this->scheme === 'unix') {
            return $this->socket;
        }
        return (str_contains($this->host, ':') ? "[$this->host]" : $this->host) . ':' . $this->port;
    }

    /** The DSN with xxxxx for its secret: it can be shown. */
    public function redacted(): string
    {
        $text = $this->scheme . '://';
        if ($this->secret !== null) {
            $text .= $this->app . ':xxxxx@';
        }
        $text .= $this->scheme === 'unix' ? str_replace('%2F', '/', rawurlencode($this->socket)) : str_replace('%', '%25', $this->address());
        if ($this->tenant !== '' && $this->scheme !== 'unix') {
            $text .= '/' . $this->tenant;
        }
        $query = [];
        foreach ($this->parameters() as $name => $value) {
            $query[] = $name . '=' . str_replace('%2F', '/', rawurlencode((string) $value));
        }
        return $text . ($query ? '?' . implode('&', $query) : '');
    }

    /** @return array<string, string|int|float> what differs from the defaults */
    private function parameters(): array
    {
        $all = [
            'tenant' => [$this->scheme === 'unix' ? $this->tenant : '', ''],
            'timeout' => [$this->timeout, 10.0],
            'lock_timeout' => [$this->lockTimeout, null],
            'on_lock_timeout' => [$this->onLockTimeout, 'fail'],
            'mode' => [$this->mode, 'rw'],
            'lifetime' => [$this->lifetime, null],
            'format' => [$this->format, 'php'],
            'persistent' => [(int) $this->persistent, 0],
            'grace' => [$this->grace, 10],
            'cafile' => [$this->cafile, ''],
            'certfile' => [$this->certfile, ''],
            'keyfile' => [$this->keyfile, ''],
        ];
        return array_map(static fn (array $pair) => $pair[0], array_filter($all, static fn (array $pair) => $pair[0] !== $pair[1]));
    }

    /**
     * Tells connections apart that must not be mixed up: by everything in the DSN but the secret. What a connection may do by
     * its secret ends with the reset that each reuse begins with; what it may do by its certificate does not.
     *
     * @internal
     */
    public function fingerprint(): string
    {
        return substr(hash('sha256', $this->redacted()), 0, 32);
    }

    public function __debugInfo(): array
    {
        return ['dsn' => $this->redacted()];
    }

    public function __serialize(): array
    {
        throw new \LogicException('sessionserver: a DSN cannot be serialized: it holds a secret');
    }

    public function __unserialize(array $data): void
    {
        throw new \LogicException('sessionserver: a DSN cannot be unserialized');
    }
}
