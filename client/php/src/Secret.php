<?php

declare(strict_types=1);

namespace SessionServer;

/**
 * A secret that does not show, whatever prints, exports, casts or serializes the object that has it: the text is
 * kept beside the object and not in it.
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
