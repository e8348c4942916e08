<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * There is no connection to the server, or it broke: what was not saved is dropped there, and the lock is free.
 */
class ConnectionException extends SessionServerException
{
}
