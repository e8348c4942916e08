<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * UNAVAILABLE: temporarily impossible: the server has too many connections, or its storage failed.
 */
class UnavailableException extends ServerException
{
}
