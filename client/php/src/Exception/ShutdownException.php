<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * SHUTDOWN: the server is about to leave; connect again.
 */
class ShutdownException extends ServerException
{
}
