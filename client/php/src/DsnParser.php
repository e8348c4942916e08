<?php

declare(strict_types=1);

namespace SessionServer;

/**
 * Parses one DSN, by the rules of the Go client (client/dsn.go), and collects the problems. The problems never quote
 * the input, since an unescaped character in a secret may move a part of the secret anywhere.
 *
 * @internal
 */
final class DsnParser
{
    private const PARAMETERS = ['timeout', 'lock_timeout', 'on_lock_timeout', 'mode', 'lifetime', 'format',
        'persistent', 'grace', 'cafile', 'certfile', 'keyfile'];
    private const NAME_RULE = 'allowed: 1 to 64 of a-z, 0-9, - and _, a letter or digit first';
    private const LIFETIME_MAX = 10 * 365 * 24 * 3600; // the longest lifetime that a server accepts, in seconds

    /** @var list<string> */
    private array $problems = [];

    private string $scheme = '';

    /** @return list<string> */
    public function problems(): array
    {
        return $this->problems;
    }

    /** Returns null if there are problems. */
    public function parse(#[\SensitiveParameter] string $text): ?Dsn
    {
        $dsn = $this->read($text);
        return $this->problems ? null : $dsn;
    }

    private function problem(string $problem): mixed
    {
        $this->problems[] = $problem;
        return null;
    }

    private function read(#[\SensitiveParameter] string $text): ?Dsn
    {
        // Editors and env files add a byte order mark and quotes.
        $text = preg_replace('/^\xEF\xBB\xBF/', '', $text);
        if (preg_match('/^\xFF\xFE|^\xFE\xFF/', $text)) {
            return $this->problem('the text is UTF-16 (save it as UTF-8)');
        }
        $text = preg_replace('/^(["\'])(.*)\1[\r\n]*$/sD', '$2', $text);
        if (preg_match('/^["\']/', $text)) {
            return $this->problem('opening quote without a closing one (remove it)');
        }
        if (preg_match('/[\x00-\x20\x7f]/', $text, $m, PREG_OFFSET_CAPTURE)) {
            $byte = $m[0][1] + 1;
            return $this->problem("byte $byte: space, line end or control character (percent-encode or remove it)");
        }
        if (!str_contains($text, '://')) {
            if (strpbrk($text, '@/?#') !== false) {
                return $this->problem('scheme: missing (allowed: tls://, tcp://, unix://, or host:port alone)');
            }
            $text = 'tcp://' . $text;
        }
        [$this->scheme, $rest] = explode('://', $text, 2);
        if (!in_array($this->scheme, ['tls', 'tcp', 'unix'], true)) {
            return $this->problem($this->scheme !== 'file' ? 'scheme: unknown (allowed: tls, tcp, unix)'
                : 'scheme: file requires an absolute path (file:///path/to/file), and is not allowed in a file');
        }
        $end = strcspn($rest, '/?#');
        [$authority, $rest] = [substr($rest, 0, $end), substr($rest, $end)];
        if (str_contains($rest, '@')) {
            return $this->problem('unexpected @ after the host '
                . '(percent-encode / ? # and @ in the secret and in parameters)');
        }
        if (str_contains($rest, '#')) {
            return $this->problem('unexpected # (percent-encode it as %23)');
        }
        $at = strrpos($authority, '@');
        [$app, $secret] = $at === false ? ['', null] : $this->credentials(substr($authority, 0, $at));
        $host = $at === false ? $authority : substr($authority, $at + 1);
        [$path, $query] = explode('?', $rest, 2) + [1 => ''];
        $parts = ['scheme' => $this->scheme, 'host' => '', 'port' => 0, 'socket' => '', 'tenant' => '', 'app' => $app,
            'secret' => $secret];
        if ($this->scheme === 'unix') {
            $parts['socket'] = $this->socket($host, $path);
        } else {
            [$parts['host'], $parts['port']] = $this->host($host);
            if (strlen($path) > 1) {
                $parts['tenant'] = $this->name('tenant', substr($path, 1));
            }
        }
        $parts = [...$parts, ...$this->parameters($query)];
        $this->checkCombination($parts, $at !== false);
        return $this->problems ? null : new Dsn(...$parts);
    }

    /** Reports problems between the parts of a DSN. */
    private function checkCombination(array $parts, bool $credentials): void
    {
        if (isset($parts['certfile']) !== isset($parts['keyfile'])) {
            $this->problem('certfile, keyfile: set both or neither');
        }
        $hasFile = isset($parts['cafile']) || isset($parts['certfile']) || isset($parts['keyfile']);
        if ($this->scheme !== 'tls' && $hasFile) {
            $this->problem('cafile, certfile, keyfile: allowed only with the scheme tls');
        }
        if ($this->problems) {
            return;
        }
        if ($credentials && $parts['tenant'] === '') {
            $syntax = $this->scheme === 'unix' ? '?tenant=name' : 'host/tenant';
            $this->problem("tenant: missing, required with an app and a secret ($syntax)");
        } elseif (!$credentials && $parts['tenant'] !== '' && !isset($parts['certfile'])) {
            $this->problem('tenant: allowed only with credentials (app:secret@ before the host, or certfile)');
        }
    }

    /** Returns null for a problem. */
    private function decode(string $name, #[\SensitiveParameter] string $text): ?string
    {
        if (preg_match('/%(?![0-9A-Fa-f]{2})/', $text)) {
            return $this->problem("$name: invalid percent-encoding (write %25 for a percent sign)");
        }
        $decoded = rawurldecode($text);
        return str_contains($decoded, "\0") ? $this->problem("$name: NUL byte not allowed") : $decoded;
    }

    /** @return array{string, ?Secret} */
    private function credentials(#[\SensitiveParameter] string $text): array
    {
        [$app, $secret] = explode(':', $text, 2) + [1 => ''];
        $app = $this->name('app', $app);
        $secret = $this->decode('secret', $secret);
        if ($secret === '') {
            $this->problem('secret: missing (app:secret@host)');
        }
        return [$app, $secret === null || $secret === '' ? null : new Secret($secret)];
    }

    /** Parses the name of a tenant or an app, by the rule of the server. */
    private function name(string $part, #[\SensitiveParameter] string $text): string
    {
        $name = $this->decode($part, $text);
        if ($name !== null && !preg_match('/^[a-z0-9][a-z0-9_-]{0,63}$/D', $name)) {
            $this->problem("$part: " . self::NAME_RULE);
        }
        return $name ?? '';
    }

    private function socket(#[\SensitiveParameter] string $host, string $path): string
    {
        if ($host !== '') {
            $this->problem('host: not allowed with the scheme unix (unix:///path/to/socket)');
        }
        $socket = $this->decode('socket', $path) ?? '';
        if (strlen($socket) < 2) {
            $this->problem('socket: missing (unix:///path/to/socket)');
        }
        return $socket;
    }

    /** @return array{string, int} */
    private function host(#[\SensitiveParameter] string $text): array
    {
        if (str_starts_with($text, '[')) {
            if (!preg_match('/^\[([^\]]*)\](?::(.*))?$/D', $text, $m)) {
                $this->problem('host: malformed ([IPv6]:port)');
                return ['', 0];
            }
            [$address, $zone] = explode('%', $this->decode('host', $m[1]) ?? '', 2) + [1 => null];
            if (!filter_var($address, FILTER_VALIDATE_IP, FILTER_FLAG_IPV6)
                || $zone !== null && !preg_match('/^[A-Za-z0-9._-]+$/D', $zone)) {
                $this->problem('host: not an IPv6 address in brackets ([IPv6]:port)');
            }
            return [$address . ($zone === null ? '' : "%$zone"), $this->port($m[2] ?? null)];
        }
        [$host, $port] = explode(':', $text, 2) + [1 => null];
        if ($port !== null && str_contains($port, ':')) {
            $this->problem('host: more than one colon (write an IPv6 address in brackets, and app:secret before an @)');
            return ['', 0];
        }
        if ($host === '') {
            $this->problem('host: missing');
        } elseif (!preg_match('/^[A-Za-z0-9._-]{1,253}$/D', $host)) {
            $this->problem('host: allowed: a name of a-z, 0-9, - _ and ., an IPv4 address,'
                . ' or an IPv6 address in brackets');
        } elseif (str_starts_with($host, 'hss_')) {
            $this->problem('host: looks like a secret (app:secret@host)');
        }
        return [$host, $this->port($port)];
    }

    private function port(#[\SensitiveParameter] ?string $text): int
    {
        if ($text === null) {
            return Dsn::DEFAULT_PORT;
        }
        if (!preg_match('/^[0-9]{1,9}$/D', $text) || (int) $text < 1 || (int) $text > 65535) {
            $this->problem('port: allowed: 1 to 65535');
        }
        return (int) $text;
    }

    /** @return array<string, mixed> arguments of Dsn */
    private function parameters(#[\SensitiveParameter] string $query): array
    {
        $values = [];
        foreach (explode('&', $query) as $pair) {
            if ($pair === '') {
                continue;
            }
            [$name, $text] = explode('=', $pair, 2) + [1 => ''];
            if ($name !== 'tenant' && !in_array($name, self::PARAMETERS, true)) {
                $this->unknown($name);
            } elseif (array_key_exists($name, $values)) {
                $this->problem("$name: duplicate");
            } elseif ($name === 'tenant') {
                $values[$name] = $this->scheme === 'unix' ? $this->name('tenant', $text)
                    : $this->problem('tenant: allowed as a parameter only with the scheme unix (host/tenant)');
            } else {
                $value = $this->decode($name, $text);
                $values[$name] = $value === null ? null : $this->parameter($name, $value);
            }
        }
        if (isset($values['lock_timeout'])) {
            $values['lockTimeout'] = $values['lock_timeout'];
        }
        if (isset($values['on_lock_timeout'])) {
            $values['onLockTimeout'] = $values['on_lock_timeout'];
        }
        unset($values['lock_timeout'], $values['on_lock_timeout']);
        return $values;
    }

    private function parameter(string $name, string $value): mixed
    {
        return match ($name) {
            'timeout' => $this->seconds($name, $value, 0.001, 3600),
            'lock_timeout' => $this->seconds($name, $value, 0, 600),
            'on_lock_timeout' => $this->choice($name, $value, 'fail', 'readonly'),
            'mode' => $this->choice($name, $value, 'rw', 'r'),
            'format' => $this->choice($name, $value, 'php', 'json'),
            'persistent' => $this->choice($name, $value, '0', '1') === '1',
            'lifetime' => $this->whole($name, $value, 1, self::LIFETIME_MAX),
            'grace' => $this->whole($name, $value, 0, 300),
            'cafile', 'certfile', 'keyfile' => $value !== '' ? $value
                : $this->problem("$name: allowed: the path of a PEM file"),
        };
    }

    /** Parses seconds with up to three decimals. */
    private function seconds(string $name, string $value, float $least, float $most): ?float
    {
        $valid = preg_match('/^[0-9]{1,9}(\.[0-9]{1,3})?$/D', $value);
        if (!$valid || (float) $value < $least || (float) $value > $most) {
            return $this->problem("$name: allowed: $least to $most seconds, with up to three decimals");
        }
        return (float) $value;
    }

    /** Parses whole seconds. */
    private function whole(string $name, string $value, int $least, int $most): ?int
    {
        if (!preg_match('/^[0-9]{1,10}$/D', $value) || (int) $value < $least || (int) $value > $most) {
            return $this->problem("$name: allowed: $least to $most, whole seconds");
        }
        return (int) $value;
    }

    private function choice(string $name, string $value, string ...$allowed): ?string
    {
        return in_array($value, $allowed, true) ? $value
            : $this->problem("$name: allowed: " . implode(', ', $allowed));
    }

    /** Reports an unknown parameter, by name only if it looks like a misspelled parameter and not like a secret. */
    private function unknown(#[\SensitiveParameter] string $name): void
    {
        $shown = preg_match('/^[a-z_]{1,20}$/D', $name) ? " $name" : '';
        $allowed = $this->scheme === 'unix' ? ['tenant', ...self::PARAMETERS] : self::PARAMETERS;
        $this->problem("unknown parameter$shown (allowed: " . implode(', ', $allowed) . ')');
    }
}
