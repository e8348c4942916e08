<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * LOCKTIMEOUT: somebody else has had the lock for as long as this request may wait.
 */
class LockTimeoutException extends ServerException
{
}
