<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * BADKEY: a key has more than 256 bytes, or a NUL.
 */
class BadKeyException extends ServerException
{
}
