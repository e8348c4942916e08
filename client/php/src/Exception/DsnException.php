<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * An invalid DSN. The message lists all problems and the file of the DSN, if there is one. It does not quote the DSN,
 * since an unescaped character in a secret may move a part of the secret anywhere.
 */
class DsnException extends SessionServerException
{
    /** @param non-empty-list<string> $problems */
    public function __construct(public readonly array $problems, string $file = '')
    {
        parent::__construct('sessionserver: DSN' . ($file === '' ? '' : " in $file") . ': ' . implode('; ', $problems));
    }
}
