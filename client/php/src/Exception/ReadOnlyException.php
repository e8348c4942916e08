<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * READONLY: the session is open for reading only.
 */
class ReadOnlyException extends ServerException
{
}
