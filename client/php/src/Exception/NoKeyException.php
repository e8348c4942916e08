<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * NOKEY: the session has no such key.
 */
class NoKeyException extends ServerException
{
}
