<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * LOCKTIMEOUT: the session stayed locked for as long as the request may wait.
 */
class LockTimeoutException extends ServerException
{
}
