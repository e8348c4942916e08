<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * BADKEY: a key is not 1 to 256 bytes without NUL.
 */
class BadKeyException extends ServerException
{
}
