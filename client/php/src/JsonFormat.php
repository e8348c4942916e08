<?php

declare(strict_types=1);

namespace SessionServer;

use SessionServer\Exception\EncodingException;

/**
 * Each top-level key of $_SESSION as one value in JSON, which other languages can read and write. Only keys that have
 * changed are sent. What JSON cannot carry is refused, with the key's name, before anything is sent.
 *
 * It stores $_SESSION itself and not what PHP's serializer has made of it; that is used only to hand data to PHP.
 *
 * PHP has arrays for JSON's arrays and objects alike. What does not show in one, that it is an object without items or with
 * the keys 0, 1, 2, is known from what was stored at its place. Integers beyond 64 bits become floats in PHP; they are
 * not written back.
 *
 * @internal
 */
final class JsonFormat implements Format
{
    private const FLAGS = JSON_PRESERVE_ZERO_FRACTION | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_LINE_TERMINATORS
        | JSON_THROW_ON_ERROR;
    private const DEPTH = 500;
    private const PUT_BYTES = 4 << 20; // that a server takes in one request, unless it is set otherwise
    private const PUT_KEYS = 1000;

    /** @var array<string> JSON by key, as the server has it */
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
                throw new EncodingException("sessionserver: the value of the key '$key' is not JSON ({$e->getMessage()}):"
                    . ' was it stored without format=json?');
            }
        }
        return $this->serialize($values);
    }

    public function save(#[\SensitiveParameter] string $data): array
    {
        if (session_status() !== PHP_SESSION_ACTIVE) {
            throw new EncodingException('sessionserver: format=json needs $_SESSION; here the data is somebody else\'s (use format=php)');
        }
        $put = [];
        $rest = $this->stored;
        foreach ($_SESSION ?? [] as $key => $value) {
            $this->check($key, $value);
            $json = $this->encode($key, $value);
            $stored = $this->stored[$key] ?? null;
            if ($stored === null) {
                array_push($put, (string) $key, $json);
            } elseif ($stored !== $json && !$this->isStored($key, $json)) {
                array_push($put, (string) $key, $this->encode($key, $this->shaped($key, $value)));
            }
            unset($rest[$key]);
        }
        // Removals first: they make room.
        $requests = $rest ? [['remove', ...array_map(strval(...), array_keys($rest))]] : [];
        return [...$requests, ...self::puts($put)];
    }

    /**
     * Spreads keys and values over as many requests as they need to pass no limit of a request: the session's are to be named.
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

    /** Others write the same value in other words: with spaces, say. That is no change. */
    private function isStored(int|string $key, string $json): bool
    {
        return $this->encode($key, json_decode($this->stored[$key], true, self::DEPTH + 12)) === $json;
    }

    /** The value that is to take the place of what is stored, with objects where that has objects. */
    private function shaped(int|string $key, #[\SensitiveParameter] mixed $value): mixed
    {
        $stored = $this->stored[$key];
        $depth = self::DEPTH + 12;
        if (preg_match('/[0-9]{19}/', $stored) && json_decode($stored, true, $depth, JSON_BIGINT_AS_STRING) !== json_decode($stored, true, $depth)) {
            self::refuseRounded($value, [$key]);
        }
        // Some keys PHP's objects cannot have; then this is null.
        return str_contains($stored, '{') ? self::like($value, json_decode($stored, false, $depth)) : $value;
    }

    /** Makes objects of arrays that were ones and do not look it; those with other keys become objects anyway. */
    private static function like(#[\SensitiveParameter] mixed $value, #[\SensitiveParameter] mixed $stored): mixed
    {
        $wasObject = $stored instanceof \stdClass;
        if (!is_array($value) || !$wasObject && !is_array($stored)) {
            return $value;
        }
        $stored = (array) $stored;
        $shaped = [];
        foreach ($value as $key => $item) {
            $shaped[$key] = self::like($item, $stored[$key] ?? null);
        }
        $isObject = $wasObject && ($value === [] || $stored !== [] && array_is_list($stored));
        return $isObject ? (object) $shaped : $shaped;
    }

    /** @param non-empty-list<int|string> $path */
    private static function refuseRounded(#[\SensitiveParameter] mixed $value, array $path): void
    {
        if (is_array($value)) {
            foreach ($value as $key => $item) {
                self::refuseRounded($item, [...$path, $key]);
            }
        } elseif (is_float($value) && abs($value) >= 2 ** 63) {
            throw self::refusal($path, 'an integer beyond 64 bits is stored there, which PHP has rounded (others can store it as a string)');
        }
    }

    private function encode(int|string $key, #[\SensitiveParameter] mixed $value): string
    {
        $precision = ini_set('serialize_precision', '-1'); // no digit of a float is lost
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
            throw self::refusal([(string) $key], 'a key is up to 256 bytes without NUL');
        }
        $this->serializable($key);
        self::checkValue($value, [$key]);
    }

    /** @param non-empty-list<int|string> $path */
    private static function checkValue(#[\SensitiveParameter] mixed $value, array $path): void
    {
        if (is_array($value)) {
            if (count($path) > self::DEPTH) {
                throw self::refusal([$path[0]], 'it is nested more than ' . self::DEPTH . ' deep, or holds itself');
            }
            foreach ($value as $key => $item) {
                if (is_string($key) && !preg_match('//u', $key)) {
                    throw self::refusal($path, 'a key in it is not UTF-8');
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
    private static function refusal(array $path, string $what): EncodingException
    {
        $name = '$_SESSION';
        foreach ($path as $key) {
            $name .= is_int($key) ? "[$key]" : "['" . addcslashes($key, "\0..\37\177..\377'\\") . "']";
        }
        return new EncodingException("sessionserver: $name cannot be stored with format=json: $what; nothing is saved, the session stays as it was");
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
            $this->serializable($key);
            $data .= "$key|" . serialize($value);
        }
        return $data;
    }

    /** Refuses what PHP's serializer could not hand to an application. */
    private function serializable(int|string $key): void
    {
        $handler = ini_get('session.serialize_handler');
        if ($handler === 'php_serialize' || $handler === 'php' && is_string($key) && !str_contains($key, '|')) {
            return;
        }
        throw self::refusal([$key], $handler === 'php' ? 'session.serialize_handler = php has no keys like that (set it to php_serialize)'
            : 'it needs session.serialize_handler = php_serialize or php');
    }
}
