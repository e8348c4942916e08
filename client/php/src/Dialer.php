<?php

declare(strict_types=1);

namespace SessionServer;

use SessionServer\Exception\ConnectionException;

/**
 * Connects to the server of a DSN. The addresses of a host are tried in turn and share the timeout.
 *
 * PHP identifies a persistent stream by the address with which it was opened. A stream opened with the host's name is
 * found again without a look-up of the name. A stream to another than the first address has that address in its place.
 *
 * @internal use Client
 */
final class Dialer
{
    /** The smallest timeout of an attempt, in seconds. */
    private const MIN_TIMEOUT = 0.001;

    /** @param ?\Closure(string): list<string> $resolve returns the addresses of a host; null: the system's resolver */
    public function __construct(private readonly Dsn $dsn, private readonly ?\Closure $resolve = null)
    {
    }

    /**
     * Returns the persistent stream with a key that an earlier request has left, or null. Nothing is sent.
     *
     * @return resource|null
     */
    public function find(string $key)
    {
        foreach ($this->hosts(true) as $host) {
            // Without STREAM_CLIENT_CONNECT PHP creates a missing stream without a connection.
            $stream = stream_socket_client($this->address($host, $key), $number, $text, 0, STREAM_CLIENT_PERSISTENT);
            if ($stream !== false && stream_socket_get_name($stream, true) !== false) {
                return $stream;
            }
            if ($stream !== false) {
                fclose($stream);
            }
        }
        return null;
    }

    /**
     * Opens a stream.
     *
     * @param string $key of a persistent stream; '' for one that ends with the request
     * @param float $deadline in seconds of Connection::now()
     * @return resource
     * @throws ConnectionException
     */
    public function connect(string $key, float $deadline)
    {
        if ($this->dsn->scheme === 'tls' && !extension_loaded('openssl')) {
            throw new ConnectionException('sessionserver: tls:// requires the PHP extension openssl (install it)');
        }
        if ($this->dsn->keyfile !== '' && self::isEncrypted($this->dsn->keyfile)) {
            throw new ConnectionException("sessionserver: keyfile: {$this->dsn->keyfile} is encrypted with a passphrase"
                . " (write a key without one: openssl pkey -in {$this->dsn->keyfile} -out NEW)");
        }
        $hosts = iterator_to_array($this->hosts($key !== ''), false);
        $failures = [];
        foreach ($hosts as $i => $host) {
            $share = max(self::MIN_TIMEOUT, ($deadline - Connection::now()) / (count($hosts) - $i));
            $stream = $this->open($this->address($host, $key), $key !== '', $share, $reason);
            if ($stream !== false) {
                return $stream;
            }
            $failures[] = count($hosts) === 1 ? $reason : "$host: $reason";
        }
        throw new ConnectionException('sessionserver: cannot connect to ' . $this->dsn->address() . ': '
            . implode('; ', $failures));
    }

    /** Reports whether a PEM private key is encrypted. OpenSSL would ask for the passphrase on the terminal. */
    private static function isEncrypted(string $file): bool
    {
        $key = is_readable($file) ? (string) file_get_contents($file) : '';
        return str_contains($key, 'BEGIN ENCRYPTED PRIVATE KEY') || str_contains($key, 'Proc-Type: 4,ENCRYPTED');
    }

    /**
     * Yields the addresses of the host, and its name where PHP is to resolve it. The name comes first for a persistent
     * stream, and last where only PHP itself can resolve IPv6 addresses.
     *
     * @return iterable<string>
     */
    private function hosts(bool $persistent): iterable
    {
        $name = $this->dsn->host;
        if ($this->resolve !== null) {
            return yield from ($this->resolve)($name);
        }
        if ($this->dsn->scheme === 'unix' || filter_var($name, FILTER_VALIDATE_IP) !== false) {
            return yield $name;
        }
        if ($persistent) {
            yield $name;
        }
        $addresses = self::addresses($name);
        if (!$persistent || count($addresses) > 1) {
            yield from $persistent ? array_diff($addresses, [$name]) : $addresses;
        }
    }

    /** @return non-empty-list<string> IPv4 and IPv6 addresses in the system's order */
    private static function addresses(string $name): array
    {
        if (!function_exists('socket_addrinfo_lookup')) {
            return [...(gethostbynamel($name) ?: []), $name];
        }
        $addresses = [];
        foreach (socket_addrinfo_lookup($name, null, ['ai_socktype' => SOCK_STREAM]) ?: [] as $info) {
            $address = socket_addrinfo_explain($info)['ai_addr'];
            $addresses[] = $address['sin_addr'] ?? $address['sin6_addr'];
        }
        return array_values(array_unique($addresses)) ?: [$name]; // PHP's error for the name gives the reason
    }

    /** Returns the address of a host for PHP, which ignores the key behind the port when it connects. */
    private function address(string $host, string $key): string
    {
        if ($this->dsn->scheme === 'unix') {
            return 'unix://' . ($key === '' ? $this->dsn->socket : $key);
        }
        return $this->dsn->scheme . '://' . (str_contains($host, ':') ? "[$host]" : $host) . ":{$this->dsn->port}$key";
    }

    /** @return resource|false */
    private function open(string $address, bool $persistent, float $timeout, ?string &$reason)
    {
        $context = ['socket' => ['tcp_nodelay' => true]];
        if ($this->dsn->scheme === 'tls') {
            $context['ssl'] = array_filter([
                'verify_peer' => true,
                'verify_peer_name' => true,
                'peer_name' => $this->dsn->host,
                'SNI_enabled' => true,
                'crypto_method' => STREAM_CRYPTO_METHOD_TLSv1_2_CLIENT | STREAM_CRYPTO_METHOD_TLSv1_3_CLIENT,
                'cafile' => $this->dsn->cafile,
                'local_cert' => $this->dsn->certfile,
                'local_pk' => $this->dsn->keyfile,
            ]);
        }
        $flags = STREAM_CLIENT_CONNECT | ($persistent ? STREAM_CLIENT_PERSISTENT : 0);
        $warnings = [];
        set_error_handler(static function (int $level, string $message) use (&$warnings): bool {
            $warnings[] = preg_replace('/^stream_socket_client\(\): /', '', $message);
            return true;
        });
        try {
            $stream = stream_socket_client($address, $number, $text, $timeout, $flags, stream_context_create($context));
        } finally {
            restore_error_handler();
        }
        // PHP reports TLS errors as warnings, and all others in $text.
        $text = $text !== '' && $text !== null ? $text : implode('; ', $warnings);
        $text = str_replace($address, $this->dsn->scheme . '://' . $this->dsn->address(), $text); // without the key
        $reason = preg_replace('/\s*\n\s*/', ' ', $text) . $this->advice($text);
        return $stream;
    }

    /** Returns advice on a server certificate that is not trusted, or ''. */
    private function advice(string $reason): string
    {
        if (str_contains($reason, 'did not match expected')) {
            return ' (the host in the DSN must be one of the names in the server\'s certificate)';
        }
        if (!str_contains($reason, 'certificate verify failed')) {
            return '';
        }
        return $this->dsn->cafile === ''
            ? ' (the certificate has expired, or the system does not trust its authority: then set cafile= in the DSN'
                . ' to the authority\'s PEM file)'
            : ' (the certificate has expired, or its authority is not in the file of cafile= in the DSN)';
    }
}
