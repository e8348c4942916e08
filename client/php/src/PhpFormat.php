<?php

declare(strict_types=1);

namespace SessionServer;

use SessionServer\Exception\EncodingException;

/**
 * The whole session as PHP serializes it, under the key "php"; what is more than one value may hold goes on under
 * further keys. An empty session has no value at all: the server lets those go early, so that visitors who only look do
 * not fill it.
 *
 * @internal
 */
final class PhpFormat implements Format
{
    private const KEYS = ['php', 'php.1', 'php.2', 'php.3'];
    private const PIECE = 1 << 20; // bytes that a server takes as one value, unless it is set otherwise

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
        // More than most servers take as one session. Those say so of the beginning; of larger pieces they would say that a
        // value is too large. Where the session may be larger than usual, values may be as well.
        return [$request, $this->put($data, (int) ceil(strlen($data) / count(self::KEYS)))];
    }

    /** @return non-empty-list<string> the request that stores the beginning of data, or all of it, in pieces of a size */
    private function put(#[\SensitiveParameter] string $data, int $size): array
    {
        $request = ['put'];
        foreach (self::KEYS as $i => $key) {
            // A piece that is left from a longer session becomes empty: one request does it all or nothing.
            if ($i * $size < strlen($data) || $i < $this->pieces) {
                array_push($request, $key, substr($data, $i * $size, $size));
            }
        }
        return $request;
    }

    /** Whether this is what PHP makes of an empty session: nothing at all, or, if it is another serializer's, an array without items. */
    private function isEmpty(#[\SensitiveParameter] string $data): bool
    {
        if (session_status() !== PHP_SESSION_ACTIVE) {
            return $data === '';
        }
        if ($data === '') {
            $this->beEmptyOnPurpose();
            return true;
        }
        return ($_SESSION ?? []) === [] && $data === session_encode();
    }

    /** PHP's own serializer answers nothing at all if one key holds its separator; that would wipe out everything. */
    private function beEmptyOnPurpose(): void
    {
        foreach (array_keys($_SESSION ?? []) as $key) {
            if (is_string($key) && str_contains($key, '|')) {
                throw new EncodingException("sessionserver: \$_SESSION['$key']: PHP cannot store a key with | in it"
                    . ' (set session.serialize_handler = php_serialize); nothing is saved, the session stays as it was');
            }
        }
    }
}
