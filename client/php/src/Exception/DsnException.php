<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * A DSN is wrong. The message tells everything that is, and quotes none of it: a secret with an unescaped character
 * in it may turn up in any part. It names the file that should hold the DSN, if there is one.
 */
class DsnException extends SessionServerException
{
    /** @param non-empty-list<string> $problems */
    public function __construct(public readonly array $problems, string $file = '')
    {
        parent::__construct('sessionserver: DSN' . ($file === '' ? '' : " in $file") . ': ' . implode('; ', $problems));
    }
}
