<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * LOCKLOST: the lease of the lock expired and another client has the lock; nothing was saved.
 */
class LockLostException extends ServerException
{
}
