<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * SHUTDOWN: the server is shutting down; connect again.
 */
class ShutdownException extends ServerException
{
}
