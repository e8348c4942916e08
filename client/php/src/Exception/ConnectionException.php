<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * A connection to the server failed or broke. The server drops unsaved changes and releases the lock.
 */
class ConnectionException extends SessionServerException
{
}
