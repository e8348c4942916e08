<?php

declare(strict_types=1);

namespace SessionServer;

use SessionServer\Exception\EncodingException;

/**
 * Stores the whole session as PHP serializes it under the key "php", and the parts beyond the size of a value under
 * further keys. An empty session has no value at all. The server removes empty sessions early, so that visitors without
 * data do not fill it.
 *
 * @internal
 */
final class PhpFormat implements Format
{
    private const KEYS = ['php', 'php.1', 'php.2', 'php.3'];
    private const PIECE = 1 << 20; // the server's default limit of the bytes in one value

    private string $stored = '';
    private int $pieces = 0;

    public function request(): array
    {
        return ['get', ...self::KEYS];
    }

    public function load(mixed $reply): string
    {
        $pieces = array_filter($reply ?? [], is_string(...));
        $this->pieces = count($pieces);
        return $this->stored = implode('', $pieces);
    }

    public function save(#[\SensitiveParameter] string $data): array
    {
        if ($this->isEmpty($data)) {
            return $this->stored === '' ? [] : [['remove', ...array_slice(self::KEYS, 0, $this->pieces)]];
        }
        if ($data === $this->stored) {
            return [];
        }
        $request = $this->put($data, self::PIECE);
        if (strlen($data) <= self::PIECE * count(self::KEYS)) {
            return [$request];
        }
        // The session is larger than a server accepts by default. The first request then yields the error for the
        // session's limit; larger pieces alone would yield the error for a value's limit. A server with a larger limit
        // for sessions may have a larger limit for values too.
        return [$request, $this->put($data, (int) ceil(strlen($data) / count(self::KEYS)))];
    }

    /**
     * @return non-empty-list<string> the request that stores the data, or its beginning, in pieces of the given size
     */
    private function put(#[\SensitiveParameter] string $data, int $size): array
    {
        $request = ['put'];
        foreach (self::KEYS as $i => $key) {
            // A piece of a longer stored session becomes empty, so that one request stores the change atomically.
            if ($i * $size < strlen($data) || $i < $this->pieces) {
                array_push($request, $key, substr($data, $i * $size, $size));
            }
        }
        return $request;
    }

    /** Reports whether the data is that of an empty session, which differs between PHP's serializers. */
    private function isEmpty(#[\SensitiveParameter] string $data): bool
    {
        if (session_status() !== PHP_SESSION_ACTIVE) {
            return $data === '';
        }
        if ($data === '') {
            $this->checkSeparator();
            return true;
        }
        return ($_SESSION ?? []) === [] && $data === session_encode();
    }

    /** Refuses keys with the separator of PHP's serializer, which returns '' for them and would erase the session. */
    private function checkSeparator(): void
    {
        foreach (array_keys($_SESSION ?? []) as $key) {
            if (is_string($key) && str_contains($key, '|')) {
                throw new EncodingException("sessionserver: \$_SESSION['$key'] cannot be stored: | in a key;"
                    . ' nothing was saved, the session is unchanged (set session.serialize_handler = php_serialize)');
            }
        }
    }
}
