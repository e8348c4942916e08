<?php

declare(strict_types=1);

namespace SessionServer;

use SessionServer\Exception\ConnectionException;

/**
 * Connects to the server that a DSN names. A host may have several addresses: they are tried in turn, and share the time.
 *
 * PHP finds a persistent stream by the address that it was opened with. One that was opened with the host's name is found
 * again without a look-up of the name. If the first address does not answer, the stream has another address for its name.
 *
 * @internal use Client
 */
final class Dialer
{
    /** Seconds that an attempt has at least. */
    private const LEAST = 0.001;

    /** @param ?\Closure(string): list<string> $resolve returns the addresses of a host; null: as the system does */
    public function __construct(private readonly Dsn $dsn, private readonly ?\Closure $resolve = null)
    {
    }

    /**
     * Returns a persistent stream that an earlier request has left at a place, or null. Nothing is sent.
     *
     * @return resource|null
     */
    public function kept(string $place)
    {
        foreach ($this->hosts(true) as $host) {
            // Without STREAM_CLIENT_CONNECT a stream that does not exist is made without a connection.
            $stream = stream_socket_client($this->address($host, $place), $number, $text, 0, STREAM_CLIENT_PERSISTENT);
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
     * Returns a new stream.
     *
     * @param string $place of a persistent stream; '' for one that ends with the request
     * @param float $deadline in seconds of Connection::now()
     * @return resource
     * @throws ConnectionException
     */
    public function connect(string $place, float $deadline)
    {
        if ($this->dsn->scheme === 'tls' && !extension_loaded('openssl')) {
            throw new ConnectionException('sessionserver: tls:// needs the extension openssl');
        }
        $hosts = iterator_to_array($this->hosts($place !== ''), false);
        $failures = [];
        foreach ($hosts as $i => $host) {
            $share = max(self::LEAST, ($deadline - Connection::now()) / (count($hosts) - $i));
            $stream = $this->open($this->address($host, $place), $place !== '', $share, $why);
            if ($stream !== false) {
                return $stream;
            }
            $failures[] = count($hosts) === 1 ? $why : "$host: $why";
        }
        throw new ConnectionException('sessionserver: no connection to ' . $this->dsn->address() . ': ' . implode('; ', $failures));
    }

    /**
     * Yields what to connect to: addresses of the host, and its name where PHP is to look that up. The name comes first for a
     * persistent stream, and last where only PHP itself can find addresses of IPv6.
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

    /** @return non-empty-list<string> of IPv4 and IPv6, in the system's order */
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
        return array_values(array_unique($addresses)) ?: [$name]; // PHP says why there is none
    }

    /** The address of a host as PHP takes it. It ignores what follows the port, which tells persistent streams apart. */
    private function address(string $host, string $place): string
    {
        if ($this->dsn->scheme === 'unix') {
            return 'unix://' . ($place === '' ? $this->dsn->socket : $place);
        }
        return $this->dsn->scheme . '://' . (str_contains($host, ':') ? "[$host]" : $host) . ":{$this->dsn->port}$place";
    }

    /** @return resource|false */
    private function open(string $address, bool $persistent, float $timeout, ?string &$why)
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
        // TLS says what is wrong in warnings, everything else in $text.
        $text = $text !== '' && $text !== null ? $text : implode('; ', $warnings);
        $text = str_replace($address, $this->dsn->scheme . '://' . $this->dsn->address(), $text); // without the place
        $why = preg_replace('/\s*\n\s*/', ' ', $text) . $this->advice($text);
        return $stream;
    }

    /** What to do about a certificate of the server that is not taken. */
    private function advice(string $why): string
    {
        if (str_contains($why, 'did not match expected')) {
            return ' (the host in the DSN must be one of the names in the server\'s certificate)';
        }
        if (!str_contains($why, 'certificate verify failed')) {
            return '';
        }
        return $this->dsn->cafile === ''
            ? ' (if the authority of the server\'s certificate is not one of the system\'s, cafile= in the DSN names its PEM file; or the certificate has expired)'
            : ' (the authority of the server\'s certificate is not in the file that cafile= in the DSN names, or the certificate has expired)';
    }
}
