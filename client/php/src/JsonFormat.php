<?php

declare(strict_types=1);

namespace SessionServer;

use SessionServer\Exception\EncodingException;

/**
 * Stores each top-level key of $_SESSION as one value in JSON, which other languages can read and write. Only changed
 * keys are sent. A value that JSON cannot represent is refused, with the name of its key, before anything is sent.
 *
 * The format stores $_SESSION itself and not the result of PHP's serializer, which only passes loaded data to PHP.
 *
 * PHP has arrays for both arrays and objects of JSON. An empty object and an object with the keys 0, 1, 2 look like
 * lists in PHP; they stay objects if the stored value is an object. Integers beyond 64 bits become floats in PHP and
 * are never written back.
 *
 * @internal
 */
final class JsonFormat implements Format
{
    private const FLAGS = JSON_PRESERVE_ZERO_FRACTION | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE
        | JSON_UNESCAPED_LINE_TERMINATORS | JSON_THROW_ON_ERROR;
    private const DEPTH = 500;
    private const PUT_BYTES = 4 << 20; // the server's default limit of the bytes in one request
    private const PUT_KEYS = 1000;

    /** @var array<string> JSON by key, as stored on the server */
    private array $stored = [];

    public function request(): array
    {
        return ['get_all'];
    }

    public function load(mixed $reply): string
    {
        $this->stored = Client::map($reply ?? []);
        $values = [];
        foreach ($this->stored as $key => $json) {
            try {
                $values[$key] = json_decode($json, true, self::DEPTH + 12, JSON_THROW_ON_ERROR);
            } catch (\JsonException $e) {
                $reason = $e->getMessage();
                throw new EncodingException("sessionserver: the value of the key '$key' is not JSON ($reason);"
                    . ' store it with format=json, or remove it');
            }
        }
        return $this->serialize($values);
    }

    public function save(#[\SensitiveParameter] string $data): array
    {
        if (session_status() !== PHP_SESSION_ACTIVE) {
            throw new EncodingException('sessionserver: format=json requires $_SESSION and cannot store the data of a'
                . ' framework (use format=php)');
        }
        $put = [];
        $removed = $this->stored;
        foreach ($_SESSION ?? [] as $key => $value) {
            $this->check($key, $value);
            $json = $this->encode($key, $value);
            $stored = $this->stored[$key] ?? null;
            if ($stored === null) {
                array_push($put, (string) $key, $json);
            } elseif ($stored !== $json && !$this->isStored($key, $json)) {
                array_push($put, (string) $key, $this->encode($key, $this->withStoredObjects($key, $value)));
            }
            unset($removed[$key]);
        }
        // Removals come first, since they free room for new values.
        $requests = $removed ? [['remove', ...array_map(strval(...), array_keys($removed))]] : [];
        return [...$requests, ...self::puts($put)];
    }

    /**
     * Distributes keys and values over requests within the limits of a request, so that an error names the limit of the
     * session and not that of a request.
     *
     * @param list<string> $pairs
     * @return list<non-empty-list<string>>
     */
    private static function puts(#[\SensitiveParameter] array $pairs): array
    {
        $requests = [];
        $room = 0;
        foreach (array_chunk($pairs, 2) as [$key, $value]) {
            $size = strlen($key) + strlen($value);
            if ($requests === [] || $size > $room || count(end($requests)) > 2 * self::PUT_KEYS) {
                $requests[] = ['put'];
                $room = self::PUT_BYTES;
            }
            array_push($requests[array_key_last($requests)], $key, $value);
            $room -= $size;
        }
        return $requests;
    }

    /** Reports whether the stored JSON has the same value, for example with other spaces. */
    private function isStored(int|string $key, string $json): bool
    {
        return $this->encode($key, json_decode($this->stored[$key], true, self::DEPTH + 12)) === $json;
    }

    /** Returns the new value of a stored key, with objects in the same places as in the stored value. */
    private function withStoredObjects(int|string $key, #[\SensitiveParameter] mixed $value): mixed
    {
        $stored = $this->stored[$key];
        $depth = self::DEPTH + 12;
        if (preg_match('/[0-9]{19}/', $stored)
            && json_decode($stored, true, $depth, JSON_BIGINT_AS_STRING) !== json_decode($stored, true, $depth)) {
            self::refuseRounded($value, [$key]);
        }
        // The result of json_decode is null for keys that PHP objects do not support.
        return str_contains($stored, '{') ? self::withObjectsOf($value, json_decode($stored, false, $depth)) : $value;
    }

    /** Converts arrays that look like lists into objects where $stored has objects. */
    private static function withObjectsOf(
        #[\SensitiveParameter] mixed $value,
        #[\SensitiveParameter] mixed $stored,
    ): mixed {
        $wasObject = $stored instanceof \stdClass;
        if (!is_array($value) || !$wasObject && !is_array($stored)) {
            return $value;
        }
        $stored = (array) $stored;
        $converted = [];
        foreach ($value as $key => $item) {
            $converted[$key] = self::withObjectsOf($item, $stored[$key] ?? null);
        }
        $isObject = $wasObject && ($value === [] || $stored !== [] && array_is_list($stored));
        return $isObject ? (object) $converted : $converted;
    }

    /** Throws for a float that may be a rounded integer. @param non-empty-list<int|string> $path */
    private static function refuseRounded(#[\SensitiveParameter] mixed $value, array $path): void
    {
        if (is_array($value)) {
            foreach ($value as $key => $item) {
                self::refuseRounded($item, [...$path, $key]);
            }
        } elseif (is_float($value) && abs($value) >= 2 ** 63) {
            throw self::refusal($path, 'PHP has rounded the stored integer beyond 64 bits (store it as a string)');
        }
    }

    private function encode(int|string $key, #[\SensitiveParameter] mixed $value): string
    {
        $precision = ini_set('serialize_precision', '-1'); // all digits of floats
        try {
            return json_encode($value, self::FLAGS, self::DEPTH + 12);
        } catch (\JsonException $e) {
            throw self::refusal([$key], $e->getMessage());
        } finally {
            ini_set('serialize_precision', (string) $precision);
        }
    }

    private function check(int|string $key, #[\SensitiveParameter] mixed $value): void
    {
        if (!preg_match('/^[^\0]{0,256}$/sD', (string) $key)) {
            throw self::refusal([(string) $key], 'invalid key (allowed: up to 256 bytes without NUL)');
        }
        $this->checkSerializable($key);
        self::checkValue($value, [$key]);
    }

    /** @param non-empty-list<int|string> $path */
    private static function checkValue(#[\SensitiveParameter] mixed $value, array $path): void
    {
        if (is_array($value)) {
            if (count($path) > self::DEPTH) {
                throw self::refusal([$path[0]], 'nested more than ' . self::DEPTH . ' levels deep, or recursive');
            }
            foreach ($value as $key => $item) {
                if (is_string($key) && !preg_match('//u', $key)) {
                    throw self::refusal($path, 'a key that is not UTF-8');
                }
                if (!is_int($item) && !is_bool($item)) {
                    self::checkValue($item, [...$path, $key]);
                }
            }
        } elseif (is_string($value)) {
            if (!preg_match('//u', $value)) {
                throw self::refusal($path, 'a string that is not UTF-8');
            }
        } elseif (is_float($value)) {
            if (!is_finite($value)) {
                throw self::refusal($path, 'NAN or INF');
            }
        } elseif (is_object($value)) {
            throw self::refusal($path, 'an object (' . get_debug_type($value) . ')');
        } elseif ($value !== null && !is_scalar($value)) {
            throw self::refusal($path, 'a resource');
        }
    }

    /** @param non-empty-list<int|string> $path */
    private static function refusal(array $path, string $reason): EncodingException
    {
        $name = '$_SESSION';
        foreach ($path as $key) {
            $name .= is_int($key) ? "[$key]" : "['" . addcslashes($key, "\0..\37\177..\377'\\") . "']";
        }
        return new EncodingException("sessionserver: $name cannot be stored with format=json: $reason;"
            . ' nothing was saved, the session is unchanged');
    }

    /** @param array<mixed> $values */
    private function serialize(#[\SensitiveParameter] array $values): string
    {
        $handler = ini_get('session.serialize_handler');
        if ($handler === 'php_serialize') {
            return serialize($values);
        }
        $data = '';
        foreach ($values as $key => $value) {
            $this->checkSerializable($key);
            $data .= "$key|" . serialize($value);
        }
        return $data;
    }

    /** Refuses a key that PHP's serializer cannot pass to the application. */
    private function checkSerializable(int|string $key): void
    {
        $handler = ini_get('session.serialize_handler');
        if ($handler === 'php_serialize' || $handler === 'php' && is_string($key) && !str_contains($key, '|')) {
            return;
        }
        throw self::refusal([$key], $handler === 'php'
            ? 'session.serialize_handler = php does not support this key (set it to php_serialize)'
            : 'unsupported session.serialize_handler (allowed: php_serialize, php)');
    }
}
