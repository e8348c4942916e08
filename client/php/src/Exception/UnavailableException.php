<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * UNAVAILABLE: the server cannot do it now: too many connections, or its storage fails.
 */
class UnavailableException extends ServerException
{
}
