<?php

declare(strict_types=1);

namespace SessionServer;

use SessionServer\Exception\DsnException;

/**
 * The address of a server, the credentials of an app and the settings of a client.
 *
 *     tls://app:secret@host:9090/tenant?lock_timeout=10
 *     tcp://localhost                                         no credentials: the server chooses the identity
 *     tls://host/tenant?certfile=app.pem&keyfile=app.key      a certificate in place of a secret
 *     unix://app:secret@/run/sessionserver.sock?tenant=acme   the path is the socket's, the tenant is a parameter
 *     localhost:9090                                          the same as tcp://localhost:9090
 *
 * Reserved characters in any part of a DSN are percent-encoded.
 */
final class Dsn
{
    public const DEFAULT_PORT = 9090;

    /** @internal called by the parser; the default values are those of a DSN without the parameter */
    public function __construct(
        public readonly string $scheme,
        public readonly string $host,          // a name or an address, without brackets; '' for unix
        public readonly int $port,             // 0 for unix
        public readonly string $socket,        // '' unless unix
        public readonly string $tenant,
        public readonly string $app,           // '' without credentials
        public readonly ?Secret $secret,
        public readonly float $timeout = 10.0, // seconds for a connection, or for a reply beyond the wait for a lock
        public readonly ?float $lockTimeout = null, // seconds to wait for a lock; null: the tenant's setting
        public readonly string $onLockTimeout = 'fail',
        public readonly string $mode = 'rw',
        public readonly ?int $lifetime = null, // seconds; null: the tenant's setting
        public readonly string $format = 'php',
        public readonly bool $persistent = false,
        public readonly int $grace = 10, // seconds for which the old id remains valid after session_regenerate_id(true)
        public readonly string $cafile = '',
        public readonly string $certfile = '',
        public readonly string $keyfile = '',
    ) {
    }

    /**
     * Parses a DSN.
     *
     * @throws DsnException with a list of all problems
     */
    public static function parse(#[\SensitiveParameter] string $text): self
    {
        $parser = new DsnParser();
        $dsn = $parser->parse($text);
        $text = ''; // PHP 8.1 has no SensitiveParameter and would print the text in a stack trace
        return $dsn ?? throw new DsnException($parser->problems());
    }

    /**
     * Parses a DSN, or the file:///path of a file with the DSN as its only line, as in session.save_path. A file keeps
     * the secret out of php.ini and phpinfo().
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

    /** Returns the only line of a file. */
    private static function content(string $file): string
    {
        $warnings = [];
        $directory = false;
        set_error_handler(static function (int $level, string $message) use (&$warnings): bool {
            $warnings[] = $message;
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
        $rule = '(write the DSN as the only line of a file)';
        if ($directory) {
            throw new DsnException(["not a file but a directory $rule"], $file);
        }
        if ($content === false) {
            $reason = implode('; ', $warnings);
            $reason = str_contains($reason, 'open_basedir') ? 'not allowed by open_basedir'
                : preg_replace('/^.*: /s', '', $reason); // the system's error is the last part
            throw new DsnException(['the file cannot be read: ' . ($reason ?: 'invalid name')], $file);
        }
        $text = trim($content);
        if ($text === '') {
            throw new DsnException(["the file is empty $rule"], $file);
        }
        if (strpbrk($text, "\r\n") !== false) {
            throw new DsnException(["the file has more than one line $rule"], $file);
        }
        return $text;
    }

    /**
     * Parses the value of session.save_path.
     *
     * @internal
     * @throws DsnException
     */
    public static function fromSavePath(#[\SensitiveParameter] string $savePath): self
    {
        if ($savePath === '') {
            throw new DsnException(['session.save_path: empty (set it to a DSN such as tls://app:secret@host/tenant)']);
        }
        return self::load($savePath);
    }

    /** Returns host:port, or the path of the socket. */
    public function address(): string
    {
        if ($this->scheme === 'unix') {
            return $this->socket;
        }
        return (str_contains($this->host, ':') ? "[$this->host]" : $this->host) . ':' . $this->port;
    }

    /** Returns the DSN with xxxxx in place of the secret. */
    public function redacted(): string
    {
        $text = $this->scheme . '://';
        if ($this->secret !== null) {
            $text .= $this->app . ':xxxxx@';
        }
        $text .= $this->scheme === 'unix' ? str_replace('%2F', '/', rawurlencode($this->socket))
            : str_replace('%', '%25', $this->address());
        if ($this->tenant !== '' && $this->scheme !== 'unix') {
            $text .= '/' . $this->tenant;
        }
        $query = [];
        foreach ($this->parameters() as $name => $value) {
            $query[] = $name . '=' . str_replace('%2F', '/', rawurlencode((string) $value));
        }
        return $text . ($query ? '?' . implode('&', $query) : '');
    }

    /** @return array<string, string|int|float> the parameters that differ from the defaults */
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
        $changed = array_filter($all, static fn (array $pair) => $pair[0] !== $pair[1]);
        return array_map(static fn (array $pair) => $pair[0], $changed);
    }

    /**
     * Returns a hash of the DSN without its secret. Only DSNs with the same fingerprint may share a persistent stream:
     * the reset at each reuse ends the rights of a secret, but not the rights of a certificate.
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
        throw new \LogicException('sessionserver: a DSN cannot be serialized, since it contains a secret');
    }

    public function __unserialize(array $data): void
    {
        throw new \LogicException('sessionserver: a DSN cannot be unserialized');
    }
}
