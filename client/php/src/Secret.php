<?php

declare(strict_types=1);

namespace SessionServer;

/**
 * A secret that stays hidden when an object that contains it is printed, exported, cast or serialized. The text is
 * stored outside of the object.
 */
final class Secret
{
    /** @var \WeakMap<self, string>|null */
    private static ?\WeakMap $texts = null;

    public function __construct(#[\SensitiveParameter] string $text)
    {
        self::$texts ??= new \WeakMap();
        self::$texts[$this] = $text;
        $text = ''; // PHP 8.1 has no SensitiveParameter
    }

    public function reveal(): string
    {
        return self::$texts[$this];
    }

    public function __serialize(): array
    {
        throw new \LogicException('sessionserver: a secret cannot be serialized');
    }

    public function __unserialize(array $data): void
    {
        throw new \LogicException('sessionserver: a secret cannot be unserialized');
    }

    private function __clone()
    {
    }
}
