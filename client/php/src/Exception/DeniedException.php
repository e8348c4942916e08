<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * DENIED: the operation is denied by a policy.
 */
class DeniedException extends ServerException
{
}
