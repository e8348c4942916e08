<?php

declare(strict_types=1);

namespace SessionServer;

use SessionServer\Exception\EncodingException;

/**
 * The whole session as PHP serializes it, in one value under the key "php". An empty session has no value at all: the
 * server lets those go early, so that visitors who only look do not fill it.
 *
 * @internal
 */
final class PhpFormat implements Format
{
    private const KEY = 'php';

    private string $stored = '';

    public function request(): array
    {
        return ['get', self::KEY];
    }

    public function load(mixed $reply): string
    {
        return $this->stored = (string) $reply;
    }

    public function save(#[\SensitiveParameter] string $data): array
    {
        if ($data === $this->stored) {
            return [];
        }
        if ($data !== '') {
            return [['put', self::KEY, $data]];
        }
        // The serializer "php" answers nothing at all if one key holds its separator; that would wipe out everything.
        if (session_status() === PHP_SESSION_ACTIVE) {
            foreach (array_keys($_SESSION ?? []) as $key) {
                if (is_string($key) && str_contains($key, '|')) {
                    throw new EncodingException("sessionserver: \$_SESSION['$key']: PHP cannot store a key with | in it"
                        . ' (set session.serialize_handler = php_serialize); the session stays as it was');
                }
            }
        }
        return [['remove', self::KEY]];
    }
}
