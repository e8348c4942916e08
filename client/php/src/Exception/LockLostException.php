<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * LOCKLOST: the lock was held for longer than its lease and somebody else has it now; nothing was saved.
 */
class LockLostException extends ServerException
{
}
